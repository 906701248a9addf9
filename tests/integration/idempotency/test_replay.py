"""Submitting with an Idempotency-Key: one job, however often it is sent, and for as long as the key is kept."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.integration.conftest import Left, serving
from tests.integration.idempotency.submissions import KEY, REUSED, TEXT, keys, made, nobody_adds_to, upload
from tests.moves import claim
from tests.problems import fields, refused
from voxqueue.database.session import Sessions
from voxqueue.fleet import Fleet, Voice, VoicesReport, WorkerReport
from voxqueue.jobs import idempotency, repository
from voxqueue.jobs.idempotency import Reservation, fingerprint
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.submission import Wishes
from voxqueue.keys.caller import DEFAULT_TENANT
from voxqueue.settings import DatabaseSettings, Settings, WorkerSettings

pytestmark = pytest.mark.integration


# --- replay -----------------------------------------------------------------------------------------------------------


def test_a_text_that_is_sent_again_brings_the_same_job_as_it_stands_now(api: httpx.Client, sessions: Sessions) -> None:
    first = made(api.post("/v1/texts", json=TEXT, headers=KEY))
    claim(sessions, first)
    again = api.post("/v1/texts", json=dict(reversed(TEXT.items())), headers=KEY)
    assert made(again, replayed=True) == first
    assert again.json()["state"] == "running"
    assert again.json() == api.get(f"/v1/jobs/{first}").json()


def test_a_recording_that_is_sent_again_is_not_stored_again(
    api_url: str, note: bytes, left: Callable[[], Left], sessions: Sessions
) -> None:
    first = made(upload(api_url, note, metadata='{"a": 1, "b": 2}'))
    again = upload(api_url, note, name="renamed.ogg", metadata='{"b": 2, "a": 1}')
    assert made(again, replayed=True) == first
    jobs, _, notes, files = left()
    assert (jobs, notes, len(files)) == (1, 1, 1)


def test_without_a_key_every_submission_is_a_job(api: httpx.Client, left: Callable[[], Left]) -> None:
    made(api.post("/v1/texts", json=TEXT))
    made(api.post("/v1/texts", json=TEXT))
    assert left()[0] == 2


def test_a_voice_that_is_gone_meanwhile_does_not_hide_the_job(api_settings: Settings, sessions: Sessions) -> None:
    spoken = {**TEXT, "voice": "anna"}
    alone = api_settings.redis.model_copy(update={"prefix": "idempotency-test"})
    settings = api_settings.model_copy(update={"redis": alone})
    with serving(settings) as url:
        first = made(httpx.post(f"{url}/v1/texts", json=spoken, headers=KEY))
    fleet = Fleet(alone, WorkerSettings(heartbeat_ttl_s=60))
    fleet.beat(
        WorkerReport(worker="w", host="h", pid=1), VoicesReport(engine="e", model="m", voices=[Voice(name="zoe")])
    )
    try:
        with serving(settings) as url:
            refused(httpx.post(f"{url}/v1/texts", json=spoken), 422)
            assert made(httpx.post(f"{url}/v1/texts", json=spoken, headers=KEY), replayed=True) == first
    finally:
        fleet.leave("w")
        fleet.close()


@pytest.mark.parametrize(
    "change",
    [
        {"text": "When do you close?"},
        {"kind": "reply"},
        {"language": "de"},
        {"instructions": "Be brief."},
        {"voice": "anna"},
        {"audio_format": "mp3"},
        {"priority": "high"},
        {"metadata": {"a": 1, "b": []}},
        {"kind": "reply", "reply_schema": {"type": "object"}},
    ],
)
def test_another_text_with_the_same_key_is_refused(
    api: httpx.Client, left: Callable[[], Left], change: dict[str, Any]
) -> None:
    made(api.post("/v1/texts", json=TEXT, headers=KEY))
    assert "new key" in refused(api.post("/v1/texts", json={**TEXT, **change}, headers=KEY), 422, REUSED)
    assert left()[0] == 1


def test_another_recording_with_the_same_key_is_refused(
    api: httpx.Client, api_url: str, note: bytes, left: Callable[[], Left]
) -> None:
    made(upload(api_url, note))
    refused(upload(api_url, note + b"\0"), 422, REUSED)
    refused(upload(api_url, note, task="translate"), 422, REUSED)
    refused(api.post("/v1/texts", json=TEXT, headers=KEY), 422, REUSED)
    jobs, _, notes, files = left()
    assert (jobs, notes, len(files)) == (1, 1, 1)


def test_what_is_as_usual_does_not_tell_requests_apart() -> None:
    """Else a client that repeats itself while a release adds a wish would be refused."""
    plain = Wishes(kind=Kind.CHAT, text="hi")
    assert fingerprint(plain) == fingerprint(Wishes(kind=Kind.CHAT, text="hi", metadata={}, instructions=None))
    assert fingerprint(plain) != fingerprint(Wishes(kind=Kind.SPEECH, text="hi"))


def test_a_deleted_job_gives_its_key_back(api: httpx.Client, sessions: Sessions) -> None:
    first = made(api.post("/v1/texts", json=TEXT, headers=KEY))
    assert api.delete(f"/v1/jobs/{first}").status_code == 204
    assert made(api.post("/v1/texts", json=TEXT, headers=KEY)) != first


def test_tenants_do_not_share_their_keys(api: httpx.Client, sessions: Sessions) -> None:
    first = made(api.post("/v1/texts", json=TEXT, headers=KEY))
    with sessions() as session:
        mine = idempotency.reserve(session, DEFAULT_TENANT, KEY["Idempotency-Key"], _fingerprint(sessions))
        theirs = idempotency.reserve(session, "stranger", KEY["Idempotency-Key"], "of another request")
        assert str(getattr(mine, "id", None)) == first
        assert isinstance(theirs, Reservation)


def _fingerprint(sessions: Sessions) -> str:
    with sessions() as session:
        found: str = session.execute(text("SELECT fingerprint FROM idempotency_keys")).scalar_one()
        return found


# --- keys that are none -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "a b", "a\tb", "ü", "x" * 256], ids=repr)
def test_a_key_that_is_none_is_refused(api: httpx.Client, left: Callable[[], Left], key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    answer = api.post("/v1/texts", json=TEXT, headers=headers)
    assert "visible ASCII" in refused(answer, 422)
    assert fields(answer) == ["Idempotency-Key"]
    assert left()[0] == 0


def test_two_keys_are_none(api: httpx.Client, sessions: Sessions) -> None:
    answer = api.post("/v1/texts", json=TEXT, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    assert "more than once" in refused(answer, 422)


@pytest.mark.parametrize("key", ["!", "~" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"'])
def test_any_visible_characters_make_a_key(api: httpx.Client, sessions: Sessions, key: str) -> None:
    first = made(api.post("/v1/texts", json=TEXT, headers={"Idempotency-Key": key}))
    assert made(api.post("/v1/texts", json=TEXT, headers={"Idempotency-Key": key}), replayed=True) == first


# --- requests that fail -----------------------------------------------------------------------------------------------


def test_a_request_that_was_refused_leaves_its_key_free(
    api: httpx.Client, api_url: str, note: bytes, sessions: Sessions
) -> None:
    refused(api.post("/v1/texts", json={"text": " "}, headers=KEY), 422)
    refused(api.post("/v1/texts", json={"text": "a", "metadata": {"a": "\0"}}, headers=KEY), 422)
    refused(upload(api_url, b"no sound at all" * 20), 415, "not-audio")
    assert keys(sessions) == []
    made(upload(api_url, note))


def test_a_request_nested_too_deeply_to_be_compared_is_refused(
    api: httpx.Client, note: bytes, api_url: str, left: Callable[[], Left]
) -> None:
    deep = '{"a":' * 400 + "1" + "}" * 400
    refused(upload(api_url, note, metadata=deep), 422)
    body = f'{{"text": "a", "metadata": {deep}}}'
    refused(api.post("/v1/texts", content=body, headers={**KEY, "content-type": "application/json"}), 422)
    assert left() == (0, 0, 0, [])


def test_what_no_json_can_hold_does_not_break_the_comparison() -> None:
    nested: dict[str, Any] = {}
    for _ in range(100_000):
        nested = {"a": nested}
    with pytest.raises(Exception, match="levels deep"):
        fingerprint(Wishes(kind=Kind.CHAT, text="a", metadata=nested))
    while nested:  # or Python takes it apart by recursion
        nested = nested["a"]
    odd = {"\ud800": float("nan"), "b": "\0"}
    assert fingerprint(Wishes(kind=Kind.CHAT, text="a", metadata=odd))


def test_a_database_that_is_away_is_503_and_leaves_nothing(
    note: bytes, api_settings: Settings, left: Callable[[], Left], sessions: Sessions
) -> None:
    away = api_settings.model_copy(update={"database": DatabaseSettings(url="postgresql://127.0.0.1:9/none")})
    with serving(away) as url:
        refused(upload(url, note), 503, "database-unavailable")
    assert left() == (0, 0, 0, [])
    assert keys(sessions) == []


def test_a_database_that_goes_away_in_the_middle_leaves_the_key_free(
    api: httpx.Client, api_url: str, note: bytes, sessions: Sessions, left: Callable[[], Left]
) -> None:
    with ThreadPoolExecutor(1) as thread:
        with nobody_adds_to(sessions, "notes") as until_held:
            request = thread.submit(upload, api_url, note)
            until_held()
            with sessions() as session:
                ended = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted"
                session.execute(text(ended))
            refused(request.result(), 503, "database-unavailable")
        assert keys(sessions) == []
        assert left() == (0, 0, 0, [])
        made(upload(api_url, note))


# --- upkeep -----------------------------------------------------------------------------------------------------------


def test_a_key_is_kept_for_a_day_and_no_longer(api: httpx.Client, sessions: Sessions, left: Callable[[], Left]) -> None:
    first = made(api.post("/v1/texts", json=TEXT, headers=KEY))
    _age(sessions, "23 hours 59 minutes")
    assert made(api.post("/v1/texts", json=TEXT, headers=KEY), replayed=True) == first
    _age(sessions, "2 minutes")
    second = made(api.post("/v1/texts", json=TEXT, headers=KEY))
    assert second != first, "whether upkeep has been there or not"
    assert made(api.post("/v1/texts", json=TEXT, headers=KEY), replayed=True) == second
    assert left()[0] == 2


def test_upkeep_forgets_old_keys_and_no_others(api: httpx.Client, sessions: Sessions) -> None:
    old, young = ({"Idempotency-Key": name} for name in ("old", "young"))
    job_id = made(api.post("/v1/texts", json=TEXT, headers=old))
    _age(sessions, "24 hours 1 second")
    made(api.post("/v1/texts", json=TEXT, headers=young))
    with sessions.begin() as session:
        assert idempotency.forget_old(session) == 1
        assert idempotency.forget_old(session) == 0
        assert repository.page(session, DEFAULT_TENANT, limit=9)[-1].id.hex == job_id.replace("-", "")
    assert keys(sessions) == ["young"]


def _age(sessions: Sessions, interval: str) -> None:
    with sessions.begin() as session:
        session.execute(
            text("UPDATE idempotency_keys SET created_at = created_at - CAST(:by AS interval)"),
            {"by": interval},
        )
