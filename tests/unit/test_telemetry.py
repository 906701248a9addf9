"""What a log line says, and that machines can read it. Each in a process of its own, which it is set up for."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

_LOGS = """
import logging
from voxqueue.settings import Settings
from voxqueue.telemetry import about, set_up_logging

set_up_logging(Settings(log_format={form!r}, log_level="info"))
log = logging.getLogger("workers.runner")
with about(job="j-1", attempt=2):
    with about(stage="stt"):
        log.warning("lost %s", "the lease")
    log.debug("not shown")
said = "call me back"
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken")
"""


def logged(form: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", _LOGS.format(form=form)], stderr=subprocess.PIPE, text=True, check=True, timeout=60
    )
    return run.stderr.splitlines()


def test_each_line_is_an_object_that_says_what_it_is_about() -> None:
    first, second = map(json.loads, logged("json"))
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "lost the lease",
        "level": "warning",
        "logger": "workers.runner",
        "job": "j-1",
        "attempt": "2",
        "stage": "stt",
    }
    assert (second["event"], "job" in second) == ("broken", False), "what is bound ends with its block"
    assert second["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_no_terminal_means_json() -> None:
    assert json.loads(logged("auto")[0])["event"] == "lost the lease"


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_tracebacks_keep_the_values_of_variables_to_themselves(form: str) -> None:
    lines = "\n".join(logged(form))
    assert "ZeroDivisionError" in lines
    assert "call me back" not in lines


def test_for_people_it_is_plain_text() -> None:
    line = logged("pretty")[0]
    assert "lost the lease" in line
    assert "job=j-1" in line
    assert "\x1b" not in line, "colours are for terminals"


_OF_A_WORKER = """
import logging, threading
from opentelemetry.trace import SpanKind
from voxqueue import tracing
from voxqueue.settings import Settings
from voxqueue.telemetry import about, set_up_logging

set_up_logging(Settings(log_format="json"), worker="stt-1@host")
log = logging.getLogger("workers.runner")
parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
with about(job="j-1"), tracing.joined(parent, "run reply", {}, kind=SpanKind.CONSUMER):
    log.info("in a job")
thread = threading.Thread(target=log.info, args=("in another thread",))
thread.start()
thread.join()
with tracing.joined(None, "run reply", {}, kind=SpanKind.CONSUMER):
    log.info("in a job without a trace")
logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "::1:5", "GET", "/v1/jobs?key=secret", "1.1", 200)
"""


def test_a_line_says_whose_it_is_and_leads_to_the_trace() -> None:
    """Though nothing records it here: a worker that does not trace helps to find what others have recorded."""
    run = subprocess.run(
        [sys.executable, "-c", _OF_A_WORKER], stderr=subprocess.PIPE, text=True, check=True, timeout=60
    )
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert {line["worker"] for line in lines} == {"stt-1@host"}
    assert [line.get("trace_id") for line in lines] == ["0af7651916cd43dd8448eb211c80319c", None, None, None]
    assert (lines[-1]["event"], lines[-1]["path"]) == ("GET /v1/jobs 200", "/v1/jobs")
    assert "secret" not in run.stderr
