"""An error that nobody has foreseen is one line of the log, which leads to the request and to its trace."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

_TRACE = "0af7651916cd43dd8448eb211c80319c"

_SERVES = f"""
import threading, time
import httpx, uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from api.app import _TELEMETRY
from api.problems import handle_errors
from voxqueue.settings import Settings
from voxqueue.telemetry import set_up_logging

app = FastAPI(telemetry=_TELEMETRY)
handle_errors(app)

@app.get("/v1/broken")
def broken():
    raise RuntimeError("nobody has foreseen it")

@app.get("/v1/breaks-off")
def breaks_off():
    def parts():
        yield b"some"
        raise RuntimeError("nor this")
    return StreamingResponse(parts())

server = uvicorn.Server(uvicorn.Config(app, port=0))
set_up_logging(Settings(log_format="json", log_level="warning"))
trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
thread = threading.Thread(target=server.run, daemon=True)  # a client that fails ends all
thread.start()
while not server.started:
    time.sleep(0.01)
url = f"http://127.0.0.1:{{server.servers[0].sockets[0].getsockname()[1]}}/v1"
with httpx.Client(timeout=60, headers={{"traceparent": "00-{_TRACE}-b7ad6b7169203331-01"}}) as client:
    answer = client.get(f"{{url}}/broken?key=secret")
    assert (answer.status_code, answer.json()["title"]) == (500, "Something went wrong on our side")
    try:
        client.get(f"{{url}}/breaks-off")
    except httpx.RemoteProtocolError:
        pass
    else:
        raise AssertionError("it ended as if nothing had happened")
server.should_exit = True
thread.join()
"""


def test_it_is_logged_once_with_its_request_and_its_trace() -> None:
    """The server logs it a second time where the trace is over, and knows nothing of the request."""
    ran = subprocess.run([sys.executable, "-c", _SERVES], stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [line["path"] for line in lines] == ["/v1/broken", "/v1/breaks-off"]
    for line in lines:
        assert (line["event"], line["method"]) == (f"GET {line['path']} failed", "GET")
        assert (line["level"], line["trace_id"]) == ("error", _TRACE)
        assert line["exception"][0]["exc_type"] == "RuntimeError"
    assert "secret" not in ran.stderr
