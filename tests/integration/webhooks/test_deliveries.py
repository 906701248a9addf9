"""What jobs ask for, and the deliveries that come of it as their tenant sees them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import update

from tests.integration.conftest import Left
from tests.integration.webhooks.hooks import (
    ADDRESS,
    DELIVERIES,
    ENDPOINTS,
    TERMINAL,
    failing,
    registered,
    submitted,
    told,
)
from tests.moves import finish
from tests.problems import fields, refused
from tests.recordings import recording, tone
from voxqueue.database.session import Sessions
from voxqueue.jobs.kinds import Kind
from voxqueue.webhooks.events import DeliveryState
from voxqueue.webhooks.models import DeliveryAttempt, WebhookEndpoint

pytestmark = pytest.mark.integration


# --- what jobs ask for ------------------------------------------------------------------------------------------------


def test_a_text_names_an_address_and_events(api: httpx.Client) -> None:
    events = ["job.stage_completed", "job.failed", "job.failed"]
    body = {"text": "Hello.", "webhook_url": ADDRESS, "webhook_events": events}
    shown = api.post("/v1/texts", json=body).json()
    assert (shown["webhook_url"], shown["webhook_events"]) == (ADDRESS, ["job.stage_completed", "job.failed"])
    assert api.get(f"/v1/jobs/{shown['id']}").json()["webhook_events"] == ["job.stage_completed", "job.failed"]


def test_a_form_names_events_with_commas_between(api: httpx.Client) -> None:
    files = {"file": ("note.ogg", recording(tone(1), 16_000, "ogg"))}
    data = {"webhook_url": ADDRESS, "webhook_events": "job.started, job.succeeded,job.started"}
    shown = api.post("/v1/voice-notes", files=files, data=data).json()
    assert (shown["webhook_url"], shown["webhook_events"]) == (ADDRESS, ["job.started", "job.succeeded"])
    answer = api.post("/v1/voice-notes", files=files, data={**data, "webhook_events": "job.started,,nap"})
    refused(answer, 422)
    assert fields(answer) == ["webhook_events"]


def test_an_address_alone_is_told_how_the_job_ends(api: httpx.Client) -> None:
    shown = api.post("/v1/texts", json={"text": "Hello.", "webhook_url": ADDRESS}).json()
    assert shown["webhook_events"] == TERMINAL
    files = {"file": ("note.ogg", recording(tone(1), 16_000, "ogg"))}
    shown = api.post("/v1/voice-notes", files=files, data={"webhook_url": ADDRESS}).json()
    assert shown["webhook_events"] == TERMINAL
    shown = api.post("/v1/texts", json={"text": "Hello."}).json()
    assert (shown["webhook_url"], shown["webhook_events"]) == (None, None)


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"webhook_url": "http://hooks.example.com/"}, "webhook_url"),
        ({"webhook_url": "https://10.0.0.7/"}, "webhook_url"),
        ({"webhook_url": "https://0x7f.1/"}, "webhook_url"),
        ({"webhook_url": ""}, "webhook_url"),
        ({"webhook_url": ADDRESS, "webhook_events": []}, "webhook_events"),
        ({"webhook_url": ADDRESS, "webhook_events": ["webhook_endpoint.disabled"]}, "webhook_events"),
        ({"webhook_events": ["job.failed"]}, "webhook_events"),
    ],
)
def test_a_job_that_would_tell_nobody_is_refused(
    api: httpx.Client, left: Callable[[], Left], members: dict[str, Any], field: str
) -> None:
    answer = api.post("/v1/texts", json={"text": "Hello.", **members})
    refused(answer, 422)
    assert fields(answer) == [field]
    assert left() == (0, 0, 0, [])


def test_what_happens_to_a_job_is_owed_to_its_address_and_to_the_endpoints(
    api: httpx.Client, sessions: Sessions
) -> None:
    endpoint = registered(api, events=["job.succeeded"])
    events = ["job.started", "job.stage_completed", "job.succeeded"]
    job_id = submitted(api, webhook_url="https://app.example.com/", webhook_events=events)
    finish(sessions, job_id, Kind.REPLY)
    page = api.get(DELIVERIES, params={"job": job_id}).json()["deliveries"]
    own = [one for one in page if one["endpoint_id"] is None]
    assert [one["event"]["type"] for one in reversed(own)] == events
    sequence = [one["event"]["sequence"] for one in reversed(own)]
    assert sequence == sorted(set(sequence)), "a receiver can sort them"
    assert {one["url"] for one in own} == {"https://app.example.com/"}
    [to_endpoint] = [one for one in page if one["endpoint_id"] == endpoint["id"]]
    assert to_endpoint["event"] == own[0]["event"], "one event, told to two"
    shown = api.get(f"{DELIVERIES}/{to_endpoint['id']}").json()
    assert (shown["data"]["job_id"], shown["data"]["state"]) == (job_id, "succeeded")


# --- deliveries -------------------------------------------------------------------------------------------------------


@pytest.fixture
def delivered(api: httpx.Client, sessions: Sessions) -> list[dict[str, Any]]:
    """Nine deliveries from the newest on: three jobs, each with an address, an endpoint that is told twice of it."""
    registered(api, events=["job.started", "job.succeeded"])
    for _ in range(3):
        finish(sessions, submitted(api, webhook_url="https://app.example.com/"), Kind.REPLY)
    found: list[dict[str, Any]] = api.get(DELIVERIES).json()["deliveries"]
    assert len(found) == 9
    return found


def test_pages_hold_every_delivery_once(api: httpx.Client, delivered: list[dict[str, Any]]) -> None:
    walked: list[dict[str, Any]] = []
    asked: dict[str, Any] = {"limit": 2}
    while True:
        page = api.get(DELIVERIES, params=asked).json()
        walked += page["deliveries"]
        if page["next_cursor"] is None:
            break
        if len(walked) == 4:  # what is new comes before, and moves nothing
            api.post(f"{DELIVERIES}/{delivered[0]['id']}/redeliver")
        asked["cursor"] = page["next_cursor"]
    assert walked == delivered
    places = [one["event"]["sequence"] for one in walked]
    assert places == sorted(places, reverse=True)


def test_deliveries_are_found_by_endpoint_job_and_state(
    api: httpx.Client, sessions: Sessions, delivered: list[dict[str, Any]]
) -> None:
    told(sessions, delivered[0]["id"], DeliveryState.FAILED)
    endpoint = next(one["endpoint_id"] for one in delivered if one["endpoint_id"])
    job = delivered[4]["event"]["job_id"]
    for asked, matches in (
        ({"endpoint": endpoint}, lambda one: one["endpoint_id"] == endpoint),
        ({"job": job}, lambda one: one["event"]["job_id"] == job),
        (
            {"job": job, "endpoint": endpoint},
            lambda one: (one["event"]["job_id"], one["endpoint_id"]) == (job, endpoint),
        ),
        ({"state": "failed"}, lambda one: one["id"] == delivered[0]["id"]),
        ({"state": "pending"}, lambda one: one["id"] != delivered[0]["id"]),
        ({"endpoint": str(uuid4())}, lambda one: False),
    ):
        found = api.get(DELIVERIES, params=asked).json()["deliveries"]
        assert [one["id"] for one in found] == [one["id"] for one in delivered if matches(one)], asked


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=AAAAAAAAAAB" + "_" * 32, "cursor"),  # a time that no calendar has
        ("cursor=" + "A" * 44, "cursor"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("state=lost", "state"),
        ("endpoint=7", "endpoint"),
        ("job=7", "job"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(api: httpx.Client, query: str, field: str) -> None:
    answer = api.get(f"{DELIVERIES}?{query}")
    refused(answer, 422)
    assert fields(answer) == [field]


def test_a_delivery_is_shown_with_every_attempt(api: httpx.Client, sessions: Sessions) -> None:
    endpoint = registered(api)
    owed = api.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    assert owed.status_code == 202, owed.text
    shown = owed.json()
    assert owed.headers["location"] == f"{DELIVERIES}/{shown['id']}"
    assert (shown["event"]["type"], shown["event"]["job_id"]) == ("webhook_endpoint.tested", None)
    assert shown["event"]["id"].startswith("evt_")
    assert (shown["state"], shown["attempt_count"], shown["endpoint_id"]) == ("pending", 0, endpoint["id"])
    assert shown["next_attempt_at"] == shown["created_at"]
    began = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    tries = [
        DeliveryAttempt(
            delivery_id=UUID(shown["id"]), number=number, started_at=began, duration_ms=12.5, status=status, error=error
        )
        for number, status, error in ((1, None, "It did not answer."), (2, 204, None))
    ]
    told(sessions, shown["id"], DeliveryState.SUCCEEDED, *tries)
    detail = api.get(owed.headers["location"]).json()
    assert (detail["state"], detail["attempt_count"], detail["next_attempt_at"]) == ("succeeded", 2, None)
    assert detail["data"] == {"endpoint_id": endpoint["id"]}
    assert shown["last_attempt"] is None
    [listed] = api.get(DELIVERIES).json()["deliveries"]
    assert listed["last_attempt"] == detail["last_attempt"] == detail["attempts"][1]
    assert detail["attempts"][0] == {
        "number": 1,
        "started_at": "2026-11-21T09:30:00Z",
        "duration_ms": 12.5,
        "status": None,
        "error": "It did not answer.",
        "answer": None,
    }
    assert detail["attempts"][1]["status"] == 204


@pytest.mark.parametrize("state", list(DeliveryState))
def test_any_delivery_can_be_made_again(api: httpx.Client, sessions: Sessions, state: DeliveryState) -> None:
    endpoint = registered(api)
    first = api.post(f"{ENDPOINTS}/{endpoint['id']}/test").json()
    told(sessions, first["id"], state)
    before = api.get(f"{DELIVERIES}/{first['id']}").json()
    with sessions.begin() as session:
        session.execute(update(WebhookEndpoint).values(url="https://moved.example.com/"))
    answer = api.post(f"{DELIVERIES}/{first['id']}/redeliver")
    assert answer.status_code == 202, answer.text
    again = answer.json()
    assert again["id"] != first["id"]
    assert again["event"] == first["event"], "the same webhook-id: a receiver can tell that it knows it"
    assert (again["state"], again["attempt_count"], again["url"]) == ("pending", 0, "https://moved.example.com/")
    assert api.get(f"{DELIVERIES}/{first['id']}").json() == before, "what was is left as it was"
    assert api.get(answer.headers["location"]).json()["state"] == "pending"


@pytest.mark.parametrize(("reason", "words"), [(None, "You have disabled it"), ("It answered 410 Gone.", "410 Gone")])
def test_to_a_disabled_endpoint_nothing_is_sent_and_that_is_said(
    api: httpx.Client, sessions: Sessions, reason: str | None, words: str
) -> None:
    """Else the answer says `pending` of what nobody will ever send."""
    endpoint = f"{ENDPOINTS}/{registered(api)['id']}"
    first = api.post(f"{endpoint}/test").json()
    assert api.patch(endpoint, json={"enabled": False}).status_code == 200
    failing(sessions, endpoint.rpartition("/")[2], disabled_reason=reason)
    for path in (f"{endpoint}/test", f"{DELIVERIES}/{first['id']}/redeliver"):
        assert words in refused(api.post(path), 409, "endpoint-disabled")
    assert len(api.get(DELIVERIES).json()["deliveries"]) == 1, "and nothing is owed"
    assert api.patch(endpoint, json={"enabled": True}).status_code == 200
    assert api.post(f"{endpoint}/test").status_code == 202


def test_what_came_with_a_job_is_made_again_at_its_own_address(api: httpx.Client, sessions: Sessions) -> None:
    job_id = submitted(api, webhook_url=ADDRESS)
    assert api.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    [first] = api.get(DELIVERIES, params={"job": job_id}).json()["deliveries"]
    assert first["event"]["type"] == "job.canceled"
    assert api.delete(f"/v1/jobs/{job_id}").status_code == 204
    again = api.post(f"{DELIVERIES}/{first['id']}/redeliver").json()
    assert (again["url"], again["endpoint_id"], again["event"]) == (ADDRESS, None, first["event"])
