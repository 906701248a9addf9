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
