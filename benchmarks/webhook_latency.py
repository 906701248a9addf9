"""How soon a webhook arrives: from a job's last commit to the first byte at its receiver, while 50 others hang.

Each receiver has a loopback address of its own. Every job is owed to the healthy one; each of the others is owed one as
well, accepts the connection, and never answers. Both times are this machine's.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.report import spread
from voxqueue.client import Client
from voxqueue.embedded import running_stack

RUNS, JOBS, HANGING = 5, 40, 50
_PAUSE_S = 0.05  # between jobs: an idle system, not a full one
_ENV = {
    "VOXQUEUE_ENGINES": "fake",
    "VOXQUEUE_FAKE_FIXED_MS": "5",
    "VOXQUEUE_FAKE_PER_ITEM_MS": "0",
    "VOXQUEUE_WEBHOOKS_ALLOW_NETWORKS": "127.0.0.0/8",
    "VOXQUEUE_WEBHOOKS_ALLOW_HTTP": "true",
}


def measure() -> dict[str, Any]:
    with ExitStack() as held:
        arrivals = _Arrivals()
        healthy = held.enter_context(_receiving(arrivals))
        hanging = [held.enter_context(_hanging(f"127.0.1.{number}")) for number in range(1, HANGING + 1)]
        ports = ",".join(str(urlsplit(url).port) for url in (healthy, *hanging))
        folder = held.enter_context(TemporaryDirectory(prefix="voxqueue-bench-"))
        stack = held.enter_context(running_stack(Path(folder), env={**_ENV, "VOXQUEUE_WEBHOOKS_PORTS": ports}))
        client = held.enter_context(Client(stack.api_url))
        medians, slowest = [], []
        with httpx.Client(base_url=stack.api_url, timeout=30) as http:
            for _ in range(RUNS):
                for url in hanging:
                    _send(http, url)
                times = [_one(client, http, healthy, arrivals) for _ in range(JOBS)]
                medians.append(sorted(times)[len(times) // 2])
                slowest.append(max(times))
    result = spread(medians, 1)
    return {
        "what": f"ms from finished_at to the first byte at a receiver, {JOBS} jobs a run, {HANGING} receivers hang",
        "aim": "median <= 100 ms",
        "p50_ms": result,
        "slowest_ms": spread(slowest, 1),
        "reached": result["median"] <= 100,
    }


class _Arrivals:
    """When the webhook of which job arrived, by `time.time`."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._changed = threading.Condition()

    def note(self, body: str, at: float) -> None:
        with self._changed:
            self._at[body] = at
            self._changed.notify_all()

    def of(self, job_id: str) -> float:
        """Wait for it."""
        with self._changed:
            found = self._changed.wait_for(lambda: next((b for b in self._at if job_id in b), None), timeout=30)
            assert found, f"no webhook for {job_id}"
            return self._at[found]


@contextmanager
def _receiving(arrivals: _Arrivals) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.connection.recv(1, socket.MSG_PEEK)
            self.began = time.time()
            super().handle_one_request()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            arrivals.note(body, self.began)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    server.server_close()


@contextmanager
def _hanging(host: str) -> Iterator[str]:
    """The kernel takes the connection, nobody ever reads from it."""
    with socket.create_server((host, 0), backlog=64) as server:
        yield f"http://{host}:{server.getsockname()[1]}/hook"


def _send(http: httpx.Client, url: str) -> str:
    body = {"kind": "reply", "text": "hi", "webhook_url": url, "webhook_events": ["job.succeeded"]}
    sent = http.post("/v1/texts", json=body)
    sent.raise_for_status()
    return str(sent.json()["id"])


def _one(client: Client, http: httpx.Client, url: str, arrivals: _Arrivals) -> float:
    """Milliseconds of one job's webhook."""
    time.sleep(_PAUSE_S)
    job = client.wait(_send(http, url), timeout=30)
    job.raise_for_state()
    assert job.finished_at is not None
    return (arrivals.of(str(job.id)) - job.finished_at.timestamp()) * 1000
