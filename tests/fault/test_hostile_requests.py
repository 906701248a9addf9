"""The short form of ``python -m tests.fault.hostile``: some of its requests, each of a kind that has broken others."""

import json

import pytest

from tests.fault.hostile.judging import faults, log_faults
from tests.fault.hostile.running import run
from tests.fault.hostile.shots import CANARY, Answer, Shot

pytestmark = pytest.mark.fault


@pytest.mark.timeout(300)
def test_hostile_requests_are_refused_and_leave_nothing_behind() -> None:
    outcomes = run(400)
    for outcome in outcomes.values():
        assert outcome.findings == []
        assert outcome.requests >= 200
        assert {"200", "202", "404", "422"} <= outcome.statuses.keys(), "it hardly got past the door"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(500, {"content-type": "text/plain"}, b"Internal Server Error"), "500"),
        (Answer(404, {"content-type": "text/html"}, b"{}"), "as 'text/html'"),
        (Answer(404, {"content-type": "application/problem+json"}, b'{"type": "x", "title": "y"}'), "lacks"),
        (Answer(400, {"content-type": "text/plain"}, b"Invalid HTTP request received."), "as 'text/plain'"),
        (Answer(202, {}, b"{}"), "does not allow"),
        (None, "no answer"),
    ],
)
def test_a_wrong_answer_is_found(answer: Answer | None, words: str) -> None:
    """A judge that finds nothing proves nothing."""
    shot = Shot(family="described", name="one", method="GET", target="/v1/jobs", data=b"", invalid=True)
    assert words in "\n".join(faults(shot, answer))


@pytest.mark.parametrize(
    "line", [f"the text was {CANARY}", "the key vq_x_y", "they said: good morning all", "Traceback"]
)
def test_what_a_log_must_not_hold_is_found(line: str) -> None:
    entry = json.dumps({"event": line, "level": "error" if line == "Traceback" else "info", "logger": "api.auth"})
    assert list(log_faults(entry, ["vq_x_y"], ["good morning all"]))
