"""Webhooks over HTTP: endpoints, secrets, what jobs ask for, and the deliveries as their tenant sees them."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import func, select, update

from api import services
from tests.integration.conftest import Left, serving
from tests.integration.test_api_bad_input import fields, refused
from tests.moves import claim, done, finish, move
from tests.recordings import recording, tone
from voxqueue.client import Client
from voxqueue.database.session import Sessions
from voxqueue.jobs import lifecycle
from voxqueue.jobs.kinds import Kind
from voxqueue.settings import Settings, WebhooksSettings
from voxqueue.stages import Stage
from voxqueue.webhooks import endpoints
from voxqueue.webhooks.endpoints import MOST_ENDPOINTS
from voxqueue.webhooks.events import TERMINAL_EVENTS, DeliveryState
from voxqueue.webhooks.models import Delivery, DeliveryAttempt, Event, SigningSecret, WebhookEndpoint
from voxqueue.webhooks.names import Names

pytestmark = pytest.mark.integration

ADDRESS = "https://hooks.example.com/voxqueue"
ENDPOINTS = "/v1/webhooks/endpoints"
DELIVERIES = "/v1/webhooks/deliveries"
SECRET = "/v1/webhooks/secret"
TERMINAL = [event.value for event in TERMINAL_EVENTS]


def json_of(value: object) -> bytes:
    """As a client writes it that knows nothing of Unicode's rules."""
    return json.dumps(value).encode()


def registered(api: httpx.Client, **members: Any) -> dict[str, Any]:
    answer = api.post(ENDPOINTS, json={"url": ADDRESS, **members})
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def submitted(api: httpx.Client, **members: Any) -> str:
    answer = api.post("/v1/texts", json={"text": "Hello.", "kind": "reply", **members})
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def failing(sessions: Sessions, endpoint_id: str, **values: Any) -> None:
    """Have an endpoint look as couriers leave it after failures."""
    with sessions.begin() as session:
        of_it = WebhookEndpoint.id == UUID(endpoint_id)
        session.execute(update(WebhookEndpoint).where(of_it).values(failing_since=func.now(), **values))


def told(sessions: Sessions, delivery_id: str, state: DeliveryState, *attempts: DeliveryAttempt) -> None:
    """Have a delivery look as couriers leave it."""
    with sessions.begin() as session:
        delivery = session.get(Delivery, UUID(delivery_id))
        assert delivery is not None
        delivery.state = state
        delivery.attempts = len(attempts)
        delivery.finished_at = None if state is DeliveryState.PENDING else datetime.now(UTC)
        session.add_all(attempts)


# --- endpoints --------------------------------------------------------------------------------------------------------


def test_an_endpoint_is_registered_and_its_secret_shown_once(api: httpx.Client, sessions: Sessions) -> None:
    answer = api.post(ENDPOINTS, json={"url": ADDRESS, "description": "The Grüße app"})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["url"], made["description"], made["enabled"]) == (ADDRESS, "The Grüße app", True)
    assert made["events"] == TERMINAL, "what one wants to know of most"
    assert (made["disabled_reason"], made["failing_since"]) == (None, None)
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert answer.headers["location"] == f"{ENDPOINTS}/{made['id']}"
    shown = api.get(answer.headers["location"])
    assert shown.json() == made
    listed = api.get(ENDPOINTS)
    assert listed.json() == {"endpoints": [made]}
    assert secret not in shown.text + listed.text
    with sessions() as session:
        signs = endpoints.valid_secrets(session, "default", UUID(made["id"]))
        assert [one.secret for one in signs] == [secret], "couriers sign with what was shown"


def test_endpoints_are_listed_from_the_newest_on(api: httpx.Client) -> None:
    made = [registered(api, events=["job.started", "job.started", "webhook_endpoint.disabled"]) for _ in range(3)]
    listed = api.get(ENDPOINTS).json()["endpoints"]
    assert [one["id"] for one in listed] == [one["id"] for one in reversed(made)]
    assert listed[0]["events"] == ["job.started", "webhook_endpoint.disabled"], (
        "an event that is named twice comes once"
    )


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://169.254.169.254/latest"}, "url"),
        ({"url": "https://user:word@hooks.example.com/"}, "url"),
        ({"url": "https://hooks.example.com:22/"}, "url"),
        ({"url": "https://hooks.example.com/" + "x" * 2_100}, "url"),
        ({"url": ""}, "url"),
        ({"url": None}, "url"),
        ({"events": []}, "events"),
        ({"events": ["job.finished"]}, "events"),
        ({"events": ["webhook_endpoint.tested"]}, "events"),
        ({"events": [["job.failed"]]}, "events"),
        ({"events": "job.failed"}, "events"),
        ({"description": "x" * 501}, "description"),
        ({"description": "a\0b"}, "description"),
        ({"description": "\ud800"}, "description"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
def test_what_cannot_be_registered_is_refused_with_its_field(
    api: httpx.Client, sessions: Sessions, members: dict[str, Any], field: str
) -> None:
    headers = {"Content-Type": "application/json"}
    body = json_of({"url": ADDRESS, **members})
    answer = api.post(ENDPOINTS, content=body, headers=headers)
    refused(answer, 422)
    assert fields(answer) == [field]
    existing = registered(api)
    answer = api.patch(f"{ENDPOINTS}/{existing['id']}", content=json_of(members), headers=headers)
    refused(answer, 422)
    assert fields(answer) == [field]
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(WebhookEndpoint)) == 1
    assert {**api.get(f"{ENDPOINTS}/{existing['id']}").json(), "secret": existing["secret"]} == existing


def test_a_name_that_leads_to_a_private_network_is_refused_wherever_it_is_given(
    api_settings: Settings, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever registers it learns of it days later, from a ledger of failures."""

    def look_up(host: str, *_: object) -> list[Any]:
        return [(2, 1, 6, "", ("10.0.0.5" if host.startswith("inside") else "8.8.8.8", 443))]

    monkeypatch.setattr(services, "Names", partial(Names, look_up=look_up))
    inside = {"url": "https://inside.example.com/"}
    with serving(api_settings) as url, httpx.Client(base_url=url, timeout=20) as api:
        existing = registered(api)
        for answer in (api.post(ENDPOINTS, json=inside), api.patch(f"{ENDPOINTS}/{existing['id']}", json=inside)):
            assert "url: has a host whose name leads to a private" in refused(answer, 422)
        job = {"text": "Hello.", "kind": "reply", "webhook_url": inside["url"]}
        answer = api.post("/v1/texts", json=job)
        assert "webhook_url: has a host whose name leads to a private" in refused(answer, 422)
        answer = api.post(
            "/v1/voice-notes", files={"file": recording(tone(1), 16_000, "wav")}, data={"webhook_url": inside["url"]}
        )
        assert fields(answer) == ["webhook_url"]


def test_other_bodies_are_refused(api: httpx.Client) -> None:
    refused(api.post(ENDPOINTS, content=b"url=x"), 415, "wrong-media-type")
    refused(api.post(ENDPOINTS, json=[]), 422)


def test_an_endpoint_is_changed_member_by_member(api: httpx.Client) -> None:
    made = registered(api, description="old")
    del made["secret"]
    path = f"{ENDPOINTS}/{made['id']}"
    for change in (
        {},
        {"events": ["job.failed"]},
        {"description": "new"},
        {"description": None},
        {"url": "https://other.example.com/"},
        {"enabled": False},
        {"enabled": True, "description": "back"},
    ):
        made |= change
        assert api.patch(path, json=change).json() == made
    assert api.get(path).json() == made
    for nothing in ("events", "enabled"):
        assert fields(api.patch(path, json={nothing: None})) == [nothing], "null is no wish"
    for no_boolean in ("yes", 1, "\0"):
        assert fields(api.patch(path, json={"enabled": no_boolean})) == ["enabled"]


def test_what_is_owed_goes_to_the_new_address(api: httpx.Client, sessions: Sessions) -> None:
    made, other = registered(api), registered(api)
    owed, sent, others = (api.post(f"{ENDPOINTS}/{one['id']}/test").json() for one in (made, made, other))
    told(sessions, sent["id"], DeliveryState.SUCCEEDED)
    failing(sessions, made["id"])
    new = "https://new.example.com/"
    changed = api.patch(f"{ENDPOINTS}/{made['id']}", json={"url": new}).json()
    assert changed["failing_since"] is None, "the new address has not failed"
    at = [api.get(f"{DELIVERIES}/{one['id']}").json()["url"] for one in (owed, sent, others)]
    assert at == [new, ADDRESS, ADDRESS]


def test_what_is_owed_to_a_disabled_endpoint_fails_and_says_why(api: httpx.Client, sessions: Sessions) -> None:
    made = registered(api)
    owed, sent = (api.post(f"{ENDPOINTS}/{made['id']}/test").json() for _ in range(2))
    told(sessions, sent["id"], DeliveryState.SUCCEEDED)
    assert api.patch(f"{ENDPOINTS}/{made['id']}", json={"enabled": False}).json()["enabled"] is False
    assert api.get(f"{DELIVERIES}/{sent['id']}").json()["state"] == "succeeded"
    failed = api.get(f"{DELIVERIES}/{owed['id']}").json()
    assert (failed["state"], failed["next_attempt_at"]) == ("failed", None)
    assert "disabled" in failed["attempts"][-1]["error"]
    finish(sessions, submitted(api), Kind.REPLY)
    assert len(api.get(DELIVERIES).json()["deliveries"]) == 2, "nothing new is owed to it"


def test_an_endpoint_that_is_enabled_again_starts_clean(api: httpx.Client, sessions: Sessions) -> None:
    made = registered(api)
    path = f"{ENDPOINTS}/{made['id']}"
    failing(sessions, made["id"], enabled=False, disabled_reason="It answered 410 Gone.")
    shown = api.get(path).json()
    assert shown["disabled_reason"] == "It answered 410 Gone."
    assert shown["failing_since"].endswith("Z")
    shown = api.patch(path, json={"enabled": True}).json()
    assert (shown["enabled"], shown["disabled_reason"], shown["failing_since"]) == (True, None, None)
    failing(sessions, made["id"])
    assert api.patch(path, json={"enabled": True}).json()["failing_since"], "it was enabled: that changes nothing"


def test_a_deleted_endpoint_is_gone_with_all_that_was_its(
    api: httpx.Client, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "_FORGOTTEN_AT_ONCE", 2)  # the API runs in this process
    made, other = registered(api), registered(api)
    for one in (made, made, made, made, made, other):
        delivery = api.post(f"{ENDPOINTS}/{one['id']}/test").json()
    assert api.delete(f"{ENDPOINTS}/{made['id']}").status_code == 204
    refused(api.get(f"{ENDPOINTS}/{made['id']}"), 404, "not-found")
    refused(api.delete(f"{ENDPOINTS}/{made['id']}"), 404, "not-found")
    with sessions() as session:
        assert session.scalars(select(Delivery.id)).all() == [UUID(delivery["id"])]
        assert session.scalars(select(SigningSecret.endpoint_id)).all() == [UUID(other["id"])]


def test_there_is_room_for_fifty_endpoints_and_no_more(api: httpx.Client, sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.add_all(
            WebhookEndpoint(tenant=tenant, url=ADDRESS, events=TERMINAL)
            for tenant in ("default",) * (MOST_ENDPOINTS - 2) + ("other",) * MOST_ENDPOINTS
        )
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: api.post(ENDPOINTS, json={"url": ADDRESS}), range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409, 409]
    words = refused(next(it for it in answers if it.status_code == 409), 409, "too-many-endpoints")
    assert "Delete one" in words


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_a_rotated_secret_signs_beside_the_old_one_for_a_day(api: httpx.Client, sessions: Sessions) -> None:
    made = registered(api)
    other = registered(api)
    answer = api.post(f"{ENDPOINTS}/{made['id']}/rotate-secret")
    assert answer.status_code == 200, answer.text
    new = answer.json()
    assert new["secret"].startswith("whsec_")
    assert new["expires_at"] is None
    with sessions() as session:
        signs = endpoints.valid_secrets(session, "default", UUID(made["id"]))
        assert [one.secret for one in signs] == [new["secret"], made["secret"]]
        began = signs[0].created_at
        assert signs[1].expires_at == began + timedelta(days=1)
        [others] = endpoints.valid_secrets(session, "default", UUID(other["id"]))
        assert (others.secret, others.expires_at) == (other["secret"], None)


def test_however_often_it_is_rotated_few_secrets_sign(api: httpx.Client, sessions: Sessions) -> None:
    made = registered(api)
    rotated = [api.post(f"{ENDPOINTS}/{made['id']}/rotate-secret").json()["secret"] for _ in range(8)]
    with sessions() as session:
        signs = endpoints.valid_secrets(session, "default", UUID(made["id"]))
        assert [one.secret for one in signs] == rotated[:-6:-1], "the newest five"
        assert session.scalar(select(func.count()).select_from(SigningSecret)) == 5, "the others are gone"


def test_the_secret_for_single_jobs_is_made_by_rotation_and_never_shown_again(api: httpx.Client) -> None:
    assert api.get(SECRET).json() == {"secrets": []}
    first, second = (api.post(f"{SECRET}/rotate").json() for _ in range(2))
    assert first["secret"] != second["secret"]
    shown = api.get(SECRET)
    assert [one["id"] for one in shown.json()["secrets"]] == [second["id"], first["id"]]
    assert [bool(one["expires_at"]) for one in shown.json()["secrets"]] == [False, True]
    assert "whsec_" not in shown.text


def test_without_an_overlap_the_old_secret_ends_at_once(api_settings: Settings, sessions: Sessions) -> None:
    at_once = api_settings.model_copy(update={"webhooks": WebhooksSettings(rotation_s=0)})
    with serving(at_once) as url, httpx.Client(base_url=url) as api:
        api.post(f"{SECRET}/rotate")
        second = api.post(f"{SECRET}/rotate").json()
        assert [one["id"] for one in api.get(SECRET).json()["secrets"]] == [second["id"]]


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


# --- others -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["7", "x" * 300, "{01a1fbc7-1769-7397-bca1-f96c9a1a3dff}", "2c310963-98d0-4673-91a5-db9d6f0f3308"]
)
def test_an_unknown_id_is_not_found(api: httpx.Client, words: str) -> None:
    for method, path in (
        ("GET", f"{ENDPOINTS}/{words}"),
        ("DELETE", f"{ENDPOINTS}/{words}"),
        ("POST", f"{ENDPOINTS}/{words}/test"),
        ("POST", f"{ENDPOINTS}/{words}/rotate-secret"),
        ("GET", f"{DELIVERIES}/{words}"),
        ("POST", f"{DELIVERIES}/{words}/redeliver"),
    ):
        refused(api.request(method, path), 404, "not-found")
    refused(api.patch(f"{ENDPOINTS}/{words}", json={"enabled": False}), 404, "not-found")


@pytest.fixture
def strange(sessions: Sessions) -> tuple[UUID, UUID]:
    """An endpoint and a delivery of another tenant."""
    with sessions.begin() as session:
        endpoint = WebhookEndpoint(tenant="other", url=ADDRESS, events=TERMINAL)
        session.add(endpoint)
        session.flush()
        session.add(SigningSecret(tenant="other", endpoint_id=endpoint.id, secret="whsec_c2VjcmV0"))
        session.add(SigningSecret(tenant="other", secret="whsec_c2VjcmV0"))
        event = Event(tenant="other", type="job.failed", data={})
        delivery = Delivery(event=event, endpoint_id=endpoint.id, url=ADDRESS)
        session.add(delivery)
        session.flush()
        return endpoint.id, delivery.id


def test_a_strangers_things_are_not_there(api: httpx.Client, sessions: Sessions, strange: tuple[UUID, UUID]) -> None:
    endpoint, delivery = strange
    for method, path in (
        ("GET", f"{ENDPOINTS}/{endpoint}"),
        ("DELETE", f"{ENDPOINTS}/{endpoint}"),
        ("POST", f"{ENDPOINTS}/{endpoint}/test"),
        ("POST", f"{ENDPOINTS}/{endpoint}/rotate-secret"),
        ("GET", f"{DELIVERIES}/{delivery}"),
        ("POST", f"{DELIVERIES}/{delivery}/redeliver"),
    ):
        refused(api.request(method, path), 404, "not-found")
    refused(api.patch(f"{ENDPOINTS}/{endpoint}", json={"enabled": False}), 404, "not-found")
    assert api.get(ENDPOINTS).json() == {"endpoints": []}
    assert api.get(SECRET).json() == {"secrets": []}
    for asked in ({}, {"endpoint": str(endpoint)}):
        assert api.get(DELIVERIES, params=asked).json()["deliveries"] == []
    api.post(f"{SECRET}/rotate")
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 1
        enabled, expiry = WebhookEndpoint.enabled, SigningSecret.expires_at
        assert session.scalars(select(enabled)).all() == [True]
        assert session.scalars(select(expiry).where(SigningSecret.tenant == "other")).all() == [None, None]


# --- the client -------------------------------------------------------------------------------------------------------


@pytest.fixture
def client(api_url: str, sessions: Sessions) -> Iterator[Client]:
    with Client(api_url, timeout=20) as client:
        yield client


def test_the_client_manages_endpoints(client: Client) -> None:
    hooks = client.webhooks
    made = hooks.create(ADDRESS, events=["job.failed"], description="mine")
    assert made.secret is not None
    assert (made.events, made.description) == (("job.failed",), "mine")
    assert [one.id for one in hooks.endpoints()] == [made.id]
    assert hooks.change(made.id, enabled=False).enabled is False
    assert hooks.endpoint(made.id).secret is None
    assert hooks.rotate_secret(made.id).secret != made.secret
    of_jobs = hooks.rotate_secret()
    assert [one.id for one in hooks.secrets()] == [of_jobs.id]
    hooks.delete(made.id)
    assert hooks.endpoints() == ()


def test_the_client_walks_over_deliveries(client: Client, sessions: Sessions) -> None:
    hooks = client.webhooks
    endpoint = hooks.create(ADDRESS)
    job = client.send_text("Hello.", kind="reply", webhook_url=ADDRESS, webhook_events=["job.started", "job.succeeded"])
    note = client.send_note(
        recording(tone(1), 16_000, "ogg"), webhook_url=ADDRESS, webhook_events=["job.started", "job.failed"]
    )
    attempt = claim(sessions, note.id)
    move(sessions, lifecycle.hand_over(UUID(note.id), attempt, done(Stage.STT), Stage.LLM))
    finish(sessions, job.id, Kind.REPLY)
    tested = hooks.test(endpoint.id)
    walked = list(hooks.deliveries(page_size=2))
    assert walked[0].event.type == "webhook_endpoint.tested"
    assert len(walked) == 5
    assert [one.event.type for one in hooks.deliveries(job=note.id)] == ["job.started"]
    assert {one.endpoint_id for one in hooks.deliveries(endpoint=endpoint.id)} == {endpoint.id}
    assert list(hooks.deliveries(state="failed")) == []
    assert hooks.delivery(tested.id).data == {"endpoint_id": endpoint.id}
    assert hooks.redeliver(tested.id).event == tested.event
