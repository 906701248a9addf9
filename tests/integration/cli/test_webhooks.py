"""``voxqueue webhooks`` over the API: endpoints, secrets and deliveries. The receiver is in `test_listen`."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.command import one_line, voxqueue
from tests.wire import JOB_ID, Asked, Said, Wire, serving

pytestmark = pytest.mark.integration

SECRET = "whsec_dGhlIHNlY3JldCBvZiBhIHRlc3QsIG5vdCBvZiBhbnlib2R5"
ID = "01a1fbc7-0000-7397-bca1-f96c9a1a3dff"
ENDPOINT = {
    "id": ID,
    "url": "https://hooks.example.com/",
    "events": ["job.failed"],
    "description": None,
    "enabled": False,
    "disabled_reason": "It answered\x1b 410 Gone.",
    "failing_since": None,
    "created_at": "2026-11-21T09:30:00Z",
}
DELIVERY = {
    "id": ID,
    "event": {"id": "evt_1", "type": "job.failed", "sequence": 7, "job_id": JOB_ID, "created_at": None},
    "endpoint_id": None,
    "url": "https://hooks.example.com/",
    "state": "failed",
    "attempt_count": 2,
    "next_attempt_at": None,
    "created_at": "2026-11-21T09:29:59.123Z",
}
ATTEMPTS = [
    {"number": 1, "started_at": "2026-11-21T09:30:00Z", "duration_ms": 15000.0, "error": "It did not answer."},
    {
        "number": 2,
        "started_at": "2026-11-21T09:30:09Z",
        "duration_ms": 12.0,
        "status": 410,
        "answer": "gone\n\x1b away",
    },
]
LISTED = DELIVERY | {"last_attempt": ATTEMPTS[-1]}
OWED = DELIVERY | {"state": "pending", "attempt_count": 0, "next_attempt_at": "2026-11-21T09:30:00Z"}


@pytest.fixture
def wire() -> Iterator[Wire]:
    """An API with an endpoint and a delivery, which knows nothing else."""

    def answer(asked: Asked) -> Said:
        match asked.method, asked.path.removeprefix("/v1/webhooks").split("/")[1:]:
            case "POST", ["endpoints"]:
                return Said.json(ENDPOINT | {"secret": SECRET}, 201)
            case "GET", ["endpoints"]:
                return Said.json({"endpoints": [ENDPOINT]})
            case "PATCH" | "DELETE", ["endpoints", _]:
                return Said.json(ENDPOINT | json.loads(asked.body or b"{}"))
            case "POST", ["secret", "rotate"] | ["endpoints", _, "rotate-secret"]:
                return Said.json({"id": ID, "secret": SECRET, "expires_at": None})
            case "GET", ["deliveries"]:
                page = int(asked.query.get("cursor", "0"))
                return Said.json({"deliveries": [LISTED] * int(asked.query["limit"]), "next_cursor": str(page + 1)})
            case "GET", ["deliveries", id_] if id_ == ID:
                return Said.json(LISTED | {"attempts": ATTEMPTS, "data": {}})
            case "POST", ["deliveries", id_, "redeliver"] if id_ == ID:
                return Said.json(OWED, 202)
            case "POST", ["endpoints", _, "test"]:
                return Said.json(OWED, 202)
            case _:
                return Said.problem(404, "not-found", "There is no such thing.")

    with serving(answer) as wire:
        yield wire


def test_create_prints_the_secret(wire: Wire) -> None:
    words = ("webhooks", "create", "https://hooks.example.com/", "--event", "job.failed", "--event", "job.started")
    ran = voxqueue(*words, "--description", "mine", "--url", wire.url)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"endpoint   {ID}\nsecret     {SECRET}\n"
    asked = {"url": "https://hooks.example.com/", "events": ["job.failed", "job.started"], "description": "mine"}
    assert json.loads(wire.asked[0].body) == asked
    assert json.loads(voxqueue(*words, "--json", "--url", wire.url).stdout)["secret"] == SECRET


def test_send_hands_on_whom_to_tell_of_what(wire: Wire) -> None:
    words = ("--webhook-url", "https://a.example/", "--webhook-event", "job.started", "--webhook-event", "job.failed")
    voxqueue("send", "--text", "hello", *words, "--url", wire.url)
    asked = {"text": "hello", "webhook_url": "https://a.example/", "webhook_events": ["job.started", "job.failed"]}
    assert json.loads(wire.asked[0].body) == asked


def test_endpoints_are_listed_and_deleted(wire: Wire) -> None:
    ran = voxqueue("webhooks", "endpoints", "--url", wire.url)
    assert ran.stdout.count("\n") == 1
    for word in (ID, "https://hooks.example.com/", "job.failed", "disabled: It answered 410 Gone."):
        assert word in ran.stdout
    [shown] = json.loads(voxqueue("webhooks", "endpoints", "--json", "--url", wire.url).stdout)
    assert (shown["id"], shown["enabled"]) == (ID, False)
    for word, enabled in (("enable", True), ("disable", False)):
        ran = voxqueue("webhooks", word, ID, "--url", wire.url)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", f"Endpoint {ID} is {word}d.\n")
        assert (wire.asked[-1].method, json.loads(wire.asked[-1].body)) == ("PATCH", {"enabled": enabled})
    ran = voxqueue("webhooks", "delete", ID, "--url", wire.url)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", f"Endpoint {ID} is deleted.\n")
    assert (wire.asked[-1].method, wire.asked[-1].path) == ("DELETE", f"/v1/webhooks/endpoints/{ID}")


def test_rotation_prints_the_secret_alone(wire: Wire) -> None:
    for words, path in (((), "/v1/webhooks/secret/rotate"), ((ID,), f"/v1/webhooks/endpoints/{ID}/rotate-secret")):
        assert voxqueue("webhooks", "rotate-secret", *words, "--url", wire.url).stdout == f"{SECRET}\n"
        assert wire.asked[-1].path == path


def test_deliveries_are_listed_shown_and_made_again(wire: Wire) -> None:
    asked = ("--job", JOB_ID, "--endpoint", ID, "--state", "failed", "--limit", "3")
    ran = voxqueue("webhooks", "deliveries", *asked, "--url", wire.url)
    assert ran.stdout.count("\n") == 3
    line = f"{ID}  2026-11-21T09:29:59Z  failed     job.failed  job {JOB_ID}  https://hooks.example.com/  "
    assert f"{line}2 attempts, the last: 410\n" in ran.stdout
    assert wire.asked[0].query == {"job": JOB_ID, "endpoint": ID, "state": "failed", "limit": "3"}
    assert len(wire.asked) == 1, "no page more than needed"
    ran = voxqueue("webhooks", "deliveries", "--limit", "150", "--json", "--url", wire.url)
    assert len(json.loads(ran.stdout)) == 150
    ran = voxqueue("webhooks", "delivery", ID, "--url", wire.url)
    assert "1  2026-11-21T09:30:00Z  15000 ms  It did not answer.\n" in ran.stdout
    assert "2  2026-11-21T09:30:09Z  12 ms  410 gone away\n" in ran.stdout
    assert len(json.loads(voxqueue("webhooks", "delivery", ID, "--json", "--url", wire.url).stdout)["attempts"]) == 2
    ran = voxqueue("webhooks", "redeliver", ID, "--url", wire.url)
    assert ran.stdout.endswith("  not tried yet\n")
    assert wire.asked[-1].path.endswith("redeliver")


def test_an_endpoint_is_changed(wire: Wire) -> None:
    words = ("--address", "https://new.example.com/", "--event", "job.failed", "--description", "mine")
    ran = voxqueue("webhooks", "update", ID, *words, "--url", wire.url)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"{ID}  https://new.example.com/  job.failed  ")
    asked = {"url": "https://new.example.com/", "events": ["job.failed"], "description": "mine"}
    assert json.loads(wire.asked[-1].body) == asked
    ran = voxqueue("webhooks", "update", ID, "--description", "yours", "--json", "--url", wire.url)
    assert json.loads(ran.stdout)["description"] == "yours"
    assert json.loads(wire.asked[-1].body) == {"description": "yours"}, "what is not given stays"
    assert voxqueue("webhooks", "update", ID, "--url", wire.url).returncode == 2


@pytest.mark.parametrize(
    ("standing", "status", "said"),
    [
        (
            {"state": "succeeded", "last_attempt": {"number": 1, "status": 204}, "next_attempt_at": None},
            0,
            "1 attempt, the last: 204\n",
        ),
        (
            {"last_attempt": {"number": 1, "error": "It did not answer."}, "next_attempt_at": "2026-11-21T09:30:05Z"},
            1,
            "1 attempt, the last: It did not answer; the next at 2026-11-21T09:30:05Z\n",
        ),
    ],
)
def test_a_test_waits_for_what_comes_of_it(standing: dict[str, Any], status: int, said: str) -> None:
    """A test that only says that it is pending leaves everything open."""
    looks = iter([OWED, OWED])

    def answer(asked: Asked) -> Said:
        if asked.method == "POST":
            return Said.json(OWED, 202)
        return Said.json(next(looks, OWED | {"attempt_count": 1} | standing))

    with serving(answer) as wire:
        ran = voxqueue("webhooks", "test", ID, "--url", wire.url)
        assert [asked.path for asked in wire.asked][:2] == [
            f"/v1/webhooks/endpoints/{ID}/test",
            f"/v1/webhooks/deliveries/{ID}",
        ]
    assert (ran.returncode, ran.stderr) == (status, "")
    assert said in ran.stdout


def test_a_test_that_nobody_sends_says_so() -> None:
    with serving(lambda asked: Said.json(OWED, 202 if asked.method == "POST" else 200)) as wire:
        ran = voxqueue("webhooks", "test", ID, "--timeout", "0", "--url", wire.url)
    assert ran.returncode == 1
    assert "not tried yet" in ran.stdout
    assert f"`voxqueue webhooks delivery {ID}`" in one_line(ran.stderr)


def test_what_the_api_refuses_is_one_line(wire: Wire) -> None:
    ran = voxqueue("webhooks", "redeliver", JOB_ID, "--url", wire.url)
    assert ran.returncode == 1
    assert "no such thing" in one_line(ran.stderr)
    ran = voxqueue("webhooks", "delivery", "../jobs", "--url", wire.url)
    assert ran.returncode == 1
    assert "no delivery id" in one_line(ran.stderr)
    assert [asked.path for asked in wire.asked] == [f"/v1/webhooks/deliveries/{JOB_ID}/redeliver"]
