"""Submitting with an Idempotency-Key: one job, however often it is sent, and whenever the API is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.integration.conftest import Left, serving
from tests.integration.test_api_bad_input import fields, refused
from tests.moves import claim
from tests.recordings import recording, tone
from voxqueue.database.session import Sessions
from voxqueue.embedded.processes import free_port, running
from voxqueue.embedded.redis import prepared_redis
from voxqueue.fleet import Fleet, Voice, VoicesReport, WorkerReport
from voxqueue.jobs import idempotency, repository
from voxqueue.jobs.idempotency import Reservation, fingerprint
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.submission import Wishes
from voxqueue.keys.caller import DEFAULT_TENANT
from voxqueue.settings import DatabaseSettings, Settings, WorkerSettings

pytestmark = pytest.mark.integration

KEY = {"Idempotency-Key": "order-4711"}
TEXT = {"text": "When do you open?", "metadata": {"a": 1, "b": [None]}}
IN_USE = "idempotency-key-in-use"
REUSED = "idempotency-key-reused"


@pytest.fixture(scope="module")
def note() -> bytes:
    return recording(tone(1), 16_000, "ogg")


def upload(
    url: str, note: bytes, *, name: str = "a.ogg", headers: Mapping[str, str] = KEY, **data: str
) -> httpx.Response:
    return httpx.post(f"{url}/v1/voice-notes", files={"file": (name, note)}, data=data, headers=headers, timeout=30)


def made(answer: httpx.Response, *, replayed: bool = False) -> str:
    """Check that a job was accepted, or is the one of before; returns its id."""
    assert answer.status_code == 202, answer.text
    assert answer.headers.get("idempotency-replayed") == ("true" if replayed else None)
    job_id: str = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/jobs/{job_id}"
    return job_id


@contextmanager
def nobody_adds_to(sessions: Sessions, table: str) -> Iterator[Callable[..., None]]:
    """Holds every insert into a table until the block ends; yields a function that waits until so many are held."""

    def until_held(requests: int = 1) -> None:
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = CAST(:table AS regclass)")

        def are_held() -> bool:
            with sessions() as session:
                return bool(session.scalar(waiting, {"table": table}) == requests)

        until(are_held)

    with sessions() as session:
        session.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
        yield until_held


def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.02)


def let_reservations_run_out(sessions: Sessions) -> None:
    """Do as if a minute had passed."""
    with sessions.begin() as session:
        session.execute(text("UPDATE idempotency_keys SET reserved_until = now() - interval '1 ms'"))


def keys(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return [row[0] for row in session.execute(text("SELECT key FROM idempotency_keys ORDER BY key"))]


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


# --- at the same time -------------------------------------------------------------------------------------------------


def test_while_the_first_is_worked_on_the_second_is_told_to_come_back(
    api: httpx.Client, sessions: Sessions, left: Callable[[], Left]
) -> None:
    with ThreadPoolExecutor(1) as thread:
        with nobody_adds_to(sessions, "jobs") as until_held:
            first = thread.submit(api.post, "/v1/texts", json=TEXT, headers=KEY)
            until_held()
            second = api.post("/v1/texts", json=TEXT, headers=KEY)
            refused(second, 409, IN_USE)
            assert int(second.headers["retry-after"]) > 0
            refused(api.post("/v1/texts", json={"text": "another"}, headers=KEY), 422, REUSED)
        job_id = made(first.result())
    assert made(api.post("/v1/texts", json=TEXT, headers=KEY), replayed=True) == job_id
    assert left()[0] == 1


def test_of_many_at_once_one_makes_the_job(api: httpx.Client, sessions: Sessions, left: Callable[[], Left]) -> None:
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: api.post("/v1/texts", json=TEXT, headers=KEY), range(36)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert [answer.headers.get("idempotency-replayed") for answer in accepted].count(None) == 1
    assert len({answer.json()["id"] for answer in accepted}) == 1
    assert left()[0] == 1


def test_who_was_too_slow_makes_no_job_beside_the_one_who_took_over(
    api_url: str, note: bytes, sessions: Sessions, left: Callable[[], Left]
) -> None:
    with ThreadPoolExecutor(2) as threads:
        with nobody_adds_to(sessions, "notes") as until_held:
            slow = threads.submit(upload, api_url, note)
            until_held()
            let_reservations_run_out(sessions)
            quick = threads.submit(upload, api_url, note)
            until_held(2)
        refused(slow.result(), 409, IN_USE)
        job_id = made(quick.result())
    assert made(upload(api_url, note), replayed=True) == job_id
    jobs, _, notes, files = left()
    assert (jobs, notes, len(files)) == (1, 1, 1)


# --- an API that is killed --------------------------------------------------------------------------------------------


class Api:
    """An API process of its own, which can be killed."""

    def __init__(self, settings: Settings, redis_url: str) -> None:
        assert settings.storage.dir is not None
        port = free_port()
        ours = {name: value for name, value in os.environ.items() if not name.startswith("VOXQUEUE_")}
        env = {
            **ours,
            "VOXQUEUE_DATABASE_URL": settings.database.require_url(),
            "VOXQUEUE_REDIS_URL": redis_url,
            "VOXQUEUE_STORAGE_DIR": str(settings.storage.dir),
            "VOXQUEUE_API_KEYS": "open",
        }
        argv = [sys.executable, "-m", "voxqueue", "api", "--port", str(port)]
        self.url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers(self) -> bool:
        assert self._process.poll() is None, "the API did not start"
        try:
            return httpx.get(f"{self.url}/livez").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def api_process(settings: Settings, redis_url: str) -> Iterator[Api]:
    api = Api(settings, redis_url)
    try:
        until(api.answers, 60)
        yield api
    finally:
        api.kill()


def assert_unanswered(request: "Future[httpx.Response]") -> None:
    with pytest.raises(httpx.TransportError):
        request.result()


def test_an_api_killed_before_its_commit_leaves_a_key_that_is_taken_over(
    api_settings: Settings, api_url: str, redis_url: str, note: bytes, sessions: Sessions, left: Callable[[], Left]
) -> None:
    with (
        ThreadPoolExecutor(1) as thread,
        api_process(api_settings, redis_url) as dying,
        nobody_adds_to(sessions, "jobs") as until_held,
    ):
        request = thread.submit(upload, dying.url, note)
        until_held()
        dying.kill()
        assert_unanswered(request)
    until(lambda: _no_backend_waits(sessions))
    jobs, _, notes, orphans = left()
    assert (jobs, notes, len(orphans)) == (0, 0, 1), "the recording is stored, and no row speaks of it"
    refused(upload(api_url, note), 409, IN_USE)
    let_reservations_run_out(sessions)
    job_id = made(upload(api_url, note))
    assert made(upload(api_url, note), replayed=True) == job_id
    jobs, _, notes, files = left()
    assert (jobs, notes, len(files)) == (1, 1, 2), "the orphan is upkeep's to remove"


def _no_backend_waits(sessions: Sessions) -> bool:
    with sessions() as session:
        busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
        return bool(session.scalar(text(busy)) == 1)


def test_an_api_killed_between_commit_and_answer_has_made_the_job_that_is_replayed(
    api_settings: Settings, api_url: str, note: bytes, sessions: Sessions, left: Callable[[], Left]
) -> None:
    """After the commit the API tells the workers; a Redis that is stopped keeps it there."""
    with (
        TemporaryDirectory(prefix="voxqueue-test-") as folder,
        prepared_redis(Path(folder, "redis"), durable=False) as server,
        running(server) as redis,
        ThreadPoolExecutor(1) as thread,
        api_process(api_settings, server.url) as dying,
    ):
        with nobody_adds_to(sessions, "jobs") as until_held:
            request = thread.submit(upload, dying.url, note)
            until_held()
            os.kill(redis.pid, signal.SIGSTOP)
        try:
            until(lambda: left()[0] == 1)
            dying.kill()
            assert_unanswered(request)
        finally:
            os.kill(redis.pid, signal.SIGCONT)
    answer = upload(api_url, note)
    made(answer, replayed=True)
    assert answer.json()["state"] == "queued"
    jobs, _, notes, files = left()
    assert (jobs, notes, len(files)) == (1, 1, 1)


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
