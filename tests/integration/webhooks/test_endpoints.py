"""Endpoints over HTTP: registered, changed, disabled, deleted, and the secrets that sign for them."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import delete, func, select, text

from api import services
from tests.integration.conftest import serving
from tests.integration.webhooks.hooks import (
    ADDRESS,
    DELIVERIES,
    ENDPOINTS,
    SECRET,
    TERMINAL,
    failing,
    registered,
    submitted,
    told,
)
from tests.moves import finish
from tests.patience import until
from tests.problems import fields, refused
from tests.recordings import recording, tone
from voxqueue.database.session import Sessions
from voxqueue.jobs import lifecycle
from voxqueue.jobs.kinds import Kind
from voxqueue.keys.caller import DEFAULT_TENANT
from voxqueue.settings import Settings, WebhooksSettings
from voxqueue.webhooks import endpoints, repository
from voxqueue.webhooks.endpoints import MOST_ENDPOINTS
from voxqueue.webhooks.events import DeliveryState
from voxqueue.webhooks.models import Delivery, SigningSecret, WebhookEndpoint
from voxqueue.webhooks.names import Names

pytestmark = pytest.mark.integration


def json_of(value: object) -> bytes:
    """As a client writes it that knows nothing of Unicode's rules."""
    return json.dumps(value).encode()


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


def test_what_a_job_owes_while_the_address_changes_goes_to_the_new_one(api: httpx.Client, sessions: Sessions) -> None:
    """The job has read the old one, and whoever changes it cannot see yet what the job owes."""
    made, job_id, new = registered(api), submitted(api), "https://new.example.com/"
    with sessions.begin() as session:
        assert lifecycle.move(session.connection(), [lifecycle.cancel(UUID(job_id), DEFAULT_TENANT)])[0]
        assert api.patch(f"{ENDPOINTS}/{made['id']}", json={"url": new}).json()["url"] == new
    with sessions.begin() as session:
        [owed] = repository.claim(session, limit=9, rooms={}, lease_s=60, rotation_s=60)
    assert (owed.url, owed.host) == (new, "new.example.com")


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


def test_a_job_may_end_while_an_endpoint_is_being_deleted(api: httpx.Client, sessions: Sessions) -> None:
    """What it would have been owed refers to the endpoint: the database refused the move, and the job was failed."""
    doomed, other = registered(api), registered(api)
    job_id = submitted(api)
    with ThreadPoolExecutor(1) as threads, sessions() as deleting:
        deleting.execute(delete(WebhookEndpoint).where(WebhookEndpoint.id == UUID(doomed["id"])))
        ending = threads.submit(finish, sessions, job_id, Kind.REPLY)
        until(lambda: _waiting(sessions))
        deleting.commit()
        ending.result(timeout=20)
    assert api.get(f"/v1/jobs/{job_id}").json()["state"] == "succeeded"
    with sessions() as session:
        assert set(session.scalars(select(Delivery.endpoint_id))) == {UUID(other["id"])}


def _waiting(sessions: Sessions) -> int:
    """How many wait for somebody else's lock."""
    with sessions() as session:
        found = session.scalar(
            text("""SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'""")
        )
    return found or 0


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
