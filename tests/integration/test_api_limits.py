"""Too many requests, too many jobs, a full queue: what is refused, what is told, and that nothing slips through."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from api.admission import Admission, Tally, _wait_s
from tests.integration.conftest import serving
from tests.keys import TEXT, bearer, first_line, make_key, refused
from voxqueue.database.session import Sessions
from voxqueue.errors import DatabaseUnavailable, TooManyJobs
from voxqueue.jobs import load
from voxqueue.keys.caller import ANYBODY, Scope
from voxqueue.settings import ApiSettings, LimitsSettings, RedisSettings, Settings

pytestmark = pytest.mark.integration

Limited = Callable[..., Any]


@pytest.fixture
def limited(api_settings: Settings, sessions: Sessions) -> Limited:
    """Serves an API that asks for keys and has these limits; counts apart from every other test."""

    @contextmanager
    def serve(keys: str = "required", **limits: object) -> Iterator[httpx.Client]:
        changed = {
            "api": ApiSettings.model_validate({"keys": keys}),
            "limits": api_settings.limits.model_copy(update=limits),
            "redis": api_settings.redis.model_copy(update={"prefix": f"test-{uuid4().hex}"}),
        }
        with serving(api_settings.model_copy(update=changed)) as url, httpx.Client(base_url=url, timeout=20) as client:
            yield client

    return serve


# --- requests ---------------------------------------------------------------------------------------------------------


def left(answer: httpx.Response) -> int:
    """What the answer says is left, held against the grammar of its fields."""
    assert re.fullmatch(r'"requests";q=\d+;w=\d+', answer.headers["ratelimit-policy"])
    found = re.fullmatch(r'"requests";r=(\d+);t=([1-9]\d*)', answer.headers["ratelimit"])
    assert found, answer.headers
    return int(found[1])


def test_a_key_has_so_many_requests_and_is_told_how_many_are_left(limited: Limited, sessions: Sessions) -> None:
    key, other = make_key(sessions), make_key(sessions)
    with limited(requests="4/hour") as api:
        answers = [api.get(path, headers=bearer(key)) for path in ("/v1/jobs", "/v1/nothing", "/v1/jobs/x", "/v1/jobs")]
        assert [left(answer) for answer in answers] == [3, 2, 1, 0], "whatever the answer is, it says what is left"
        assert answers[0].headers["ratelimit-policy"] == '"requests";q=4;w=3600'
        answer = api.get("/v1/jobs", headers=bearer(key))
        assert "4/hour" in refused(answer, 429, "rate-limited")
        assert left(answer) == 0
        assert 1 <= int(answer.headers["retry-after"]) <= 3600
        assert first_line(api, f"Bearer {key}") == "HTTP/1.1 429 Too Many Requests", "it was asked for its upload first"
        assert left(api.get("/v1/jobs", headers=bearer(other))) == 3, "one key must not use up what another has"


def test_probes_are_not_counted(limited: Limited, sessions: Sessions) -> None:
    key = make_key(sessions)
    with limited(requests="1/hour") as api:
        for _ in range(3):
            assert "ratelimit" not in api.get("/livez", headers=bearer(key)).headers
        assert left(api.get("/v1/jobs", headers=bearer(key))) == 0


def test_a_scope_that_lacks_costs_a_request_too(limited: Limited, sessions: Sessions) -> None:
    """Else a leaked key could be tried out without end."""
    key = make_key(sessions, Scope.WEBHOOKS)
    with limited(requests="1/hour") as api:
        refused(api.get("/v1/jobs", headers=bearer(key)), 403, "forbidden")
        refused(api.get("/v1/jobs", headers=bearer(key)), 429, "rate-limited")


def test_processes_count_together(api_settings: Settings, sessions: Sessions) -> None:
    key = make_key(sessions)
    changed = {
        "api": ApiSettings(keys="required"),
        "limits": LimitsSettings(requests="2/hour"),
        "redis": api_settings.redis.model_copy(update={"prefix": f"test-{uuid4().hex}"}),
    }
    settings = api_settings.model_copy(update=changed)
    with serving(settings) as one, serving(settings) as two:
        assert left(httpx.get(f"{one}/v1/jobs", headers=bearer(key))) == 1
        assert left(httpx.get(f"{two}/v1/jobs", headers=bearer(key))) == 0
        refused(httpx.get(f"{one}/v1/jobs", headers=bearer(key)), 429, "rate-limited")


def test_without_keys_an_address_has_so_many_requests(limited: Limited) -> None:
    with limited(keys="open", requests="1/hour") as api:
        assert left(api.get("/v1/jobs")) == 0
        refused(api.get("/v1/jobs"), 429, "rate-limited")


def test_without_redis_requests_are_let_through_and_that_is_said_once(
    api_settings: Settings, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    away = api_settings.model_copy(
        update={"redis": RedisSettings(url="redis://127.0.0.1:9"), "limits": LimitsSettings(requests="1/hour")}
    )
    with serving(away) as url:
        for _ in range(3):
            answer = httpx.get(f"{url}/v1/jobs")
            assert answer.status_code == 200
            assert "ratelimit-policy" in answer.headers
            assert "ratelimit" not in answer.headers
    said = [it for it in caplog.records if it.name == "api.limits" and it.levelno == logging.WARNING]
    assert len(said) == 1


# --- jobs -------------------------------------------------------------------------------------------------------------


def statuses(api: httpx.Client, times: int, **headers: str) -> list[int]:
    """What so many submissions at once are answered."""
    with ThreadPoolExecutor(times) as pool:
        answers = pool.map(lambda _: api.post("/v1/texts", json=TEXT, headers=headers), range(times))
    return sorted(answer.status_code for answer in answers)


def test_a_burst_of_jobs_ends_at_the_limit_of_its_key(limited: Limited, sessions: Sessions) -> None:
    """Counts are a second old: what comes within that second must be added to them."""
    key, other = make_key(sessions), make_key(sessions)
    with limited(open_jobs=5) as api:
        assert statuses(api, 20, **bearer(key)) == [202] * 5 + [429] * 15
        answer = api.post("/v1/texts", json=TEXT, headers=bearer(key))
        assert "5 jobs under way" in refused(answer, 429, "too-many-jobs")
        assert answer.headers["retry-after"] == "60", "nothing finishes"
        assert first_line(api, f"Bearer {key}") == "HTTP/1.1 429 Too Many Requests", "it was asked for its upload first"
        assert api.post("/v1/texts", json=TEXT, headers=bearer(other)).status_code == 202
        assert api.get("/v1/jobs", headers=bearer(key)).status_code == 200, "only submitting is refused"


def test_a_full_queue_takes_from_nobody(limited: Limited, sessions: Sessions) -> None:
    keys = [make_key(sessions), make_key(sessions)]
    with limited(queued_jobs=3) as api:
        assert statuses(api, 10, **bearer(keys[0])) == [202] * 3 + [503] * 7
        for key in keys:
            answer = api.post("/v1/texts", json=TEXT, headers=bearer(key))
            assert "3 jobs wait" in refused(answer, 503, "queue-full")
            assert int(answer.headers["retry-after"]) == 60
        assert first_line(api, f"Bearer {keys[0]}") == "HTTP/1.1 503 Service Unavailable"


def test_a_replay_needs_no_room(limited: Limited, sessions: Sessions) -> None:
    """Else whoever has lost the answer to a submission cannot learn of their job while the queue is full."""
    key, other = make_key(sessions), make_key(sessions, tenant="other")
    named = {**bearer(key), "Idempotency-Key": "note-1"}
    for limits, status, code in (
        ({"queued_jobs": 1}, 503, "queue-full"),
        ({"open_jobs": 1}, 429, "too-many-jobs"),
    ):
        with limited(**limits) as api:
            made = api.post("/v1/texts", json=TEXT, headers=named)
            assert made.status_code == 202
            refused(api.post("/v1/texts", json=TEXT, headers=bearer(key)), status, code)
            again = api.post("/v1/texts", json=TEXT, headers=named)
            assert (again.status_code, again.json()["id"]) == (202, made.json()["id"])
            assert again.headers["idempotency-replayed"] == "true"
            changed = api.post("/v1/texts", json={**TEXT, "text": "Good evening."}, headers=named)
            refused(changed, 422, "idempotency-key-reused")
            unknown = api.post("/v1/texts", json=TEXT, headers={**named, "Idempotency-Key": "note-2"})
            refused(unknown, status, code)
            twice = [("Authorization", f"Bearer {key}"), ("Idempotency-Key", "note-1"), ("Idempotency-Key", "note-1")]
            refused(api.post("/v1/texts", json=TEXT, headers=twice), status, code)
            if "queued_jobs" in limits:
                stranger = {**bearer(other), "Idempotency-Key": "note-1"}
                refused(api.post("/v1/texts", json=TEXT, headers=stranger), status, code)
        with sessions.begin() as session:
            session.execute(text("TRUNCATE jobs CASCADE"))


def test_there_is_room_again_when_jobs_have_finished(limited: Limited, sessions: Sessions) -> None:
    key = make_key(sessions)
    with limited(open_jobs=2) as api:
        jobs = [api.post("/v1/texts", json=TEXT, headers=bearer(key)).headers["location"] for _ in range(2)]
        refused(api.post("/v1/texts", json=TEXT, headers=bearer(key)), 429, "too-many-jobs")
        assert api.post(f"{jobs[0]}/cancel", headers=bearer(key)).status_code == 200
        give_up = time.monotonic() + 30
        while (answer := api.post("/v1/texts", json=TEXT, headers=bearer(key))).status_code == 429:
            assert time.monotonic() < give_up, "the room that became free was never noticed"
            time.sleep(0.1)
        assert answer.status_code == 202
        refused(api.post("/v1/texts", json=TEXT, headers=bearer(key)), 429, "too-many-jobs")


def test_what_is_refused_for_another_reason_takes_no_room(limited: Limited, sessions: Sessions) -> None:
    key = make_key(sessions)
    with limited(open_jobs=1, queued_jobs=1) as api:
        for _ in range(3):
            assert api.post("/v1/texts", json={"text": ""}, headers=bearer(key)).status_code == 422
        assert api.post("/v1/texts", json=TEXT, headers=bearer(key)).status_code == 202


def test_how_long_to_wait_comes_from_how_fast_jobs_finish(limited: Limited, sessions: Sessions) -> None:
    key, other = make_key(sessions), make_key(sessions)
    _insert(sessions, 10, state="queued", api_key=key.id)
    _insert(sessions, 30, state="succeeded", api_key=key.id, finished="10 seconds")
    _insert(sessions, 500, state="succeeded", api_key=key.id, finished="2 minutes")
    _insert(sessions, 90, state="succeeded", api_key=other.id, finished="10 seconds")
    with limited(open_jobs=6) as api:  # 5 too many, at a job of this key in 2 s
        answer = api.post("/v1/texts", json=TEXT, headers=bearer(key))
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
    with limited(queued_jobs=6) as api:  # at two jobs of all keys in 1 s
        answer = api.post("/v1/texts", json=TEXT, headers=bearer(other))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")


@pytest.mark.parametrize(
    ("too_many", "finished", "seconds"), [(0, 60, 1), (0, 600, 1), (9, 60, 10), (0, 0, 60), (99_999, 60, 600)]
)
def test_the_time_to_wait_has_bounds(too_many: int, finished: int, seconds: float) -> None:
    assert _wait_s(too_many, finished) == seconds


@pytest.mark.parametrize(
    ("count", "indices"),
    [
        (load.queued, {"ix_jobs_queued", "ix_jobs_open"}),
        (lambda session: load.under_way(session, "deep"), {"ix_jobs_open"}),
        (lambda session: load.under_way(session, None), {"ix_jobs_open"}),
        (load.finished, {"ix_jobs_finished"}),
    ],
    ids=["queued", "under way", "without a key", "finished"],
)
def test_counting_is_answered_from_an_index(
    sessions: Sessions, count: Callable[[Session], int], indices: set[str]
) -> None:
    """Else many old jobs would slow down whoever submits."""
    _insert(sessions, 1_000, state="queued", api_key="deep")
    with sessions() as session:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        session.execute(text("VACUUM ANALYZE jobs"))
    asked: list[tuple[str, Any]] = []
    with sessions() as session:
        event.listen(session.get_bind(), "before_cursor_execute", lambda *it: asked.append((it[2], it[3])), once=True)
        count(session)
        statement, parameters = asked[0]
        # The plan that is made for all values, as it is for a statement that is sent often.
        session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        session.execute(text("SET LOCAL enable_seqscan = off"))
        session.execute(text("SET LOCAL enable_bitmapscan = off"))
        found = session.connection().exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    scan = found[0]["Plan"]["Plans"][0]
    assert scan["Index Name"] in indices


def _insert(sessions: Sessions, count: int, *, state: str, api_key: str, finished: str | None = None) -> None:
    """Jobs as plain rows, without their runs."""
    rows = text("""
        INSERT INTO jobs (id, tenant, api_key, kind, state, stage, priority, audio_format, options, metadata, attempt,
            lost_leases, finished_at)
        SELECT gen_random_uuid(), 'default', :api_key, 'reply', :state, 'llm', 'normal', 'ogg', '{}', '{}', 0, 0,
            now() - CAST(:finished AS interval)
        FROM generate_series(1, :count)
    """)
    with sessions.begin() as session:
        session.execute(rows, {"api_key": api_key, "state": state, "count": count, "finished": finished})


# --- the counts themselves --------------------------------------------------------------------------------------------


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_nobody_waits_for_a_count_while_there_is_a_recent_one(
    background: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes at the wrong moment would pay for all others."""
    monkeypatch.setattr(Tally, "FRESH_S", 0)
    monkeypatch.setattr(Tally, "STALE_S", 600)
    may_count, counting = threading.Event(), threading.Event()
    answers = iter([7, 100])

    def count() -> int:
        number = next(answers)
        if number == 100:
            counting.set()
            assert may_count.wait(20)
        return number

    tally = Tally(count, background)
    assert tally.get() == 7
    assert tally.get() == 7, "the second count is under way"
    assert counting.wait(20)
    assert tally.take(9)
    assert tally.take(9)
    assert not tally.take(9)
    may_count.set()


def test_a_count_that_began_before_a_job_was_there_does_not_lose_it(
    background: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tally, "FRESH_S", 0)
    monkeypatch.setattr(Tally, "STALE_S", 600)
    may_answer, counting, answered, over = (threading.Event() for _ in range(4))
    looks = 0

    def count() -> int:
        nonlocal looks
        looks += 1
        if looks == 2:
            counting.set()
            assert may_answer.wait(20)
        if looks == 3:
            answered.set()  # so the second one is in force
            assert over.wait(20)
        return 0

    tally = Tally(count, background)
    assert tally.get() == 0
    assert tally.take(10)
    assert counting.wait(20)
    tally.settle(came_about=True)  # committed after the count's snapshot
    assert tally.take(10)  # and this one is not committed yet
    may_answer.set()
    give_up = time.monotonic() + 20
    while not answered.is_set() and time.monotonic() < give_up:
        assert tally.get() >= 2, "a job was forgotten: more are let in than the limit says"
    assert answered.is_set()
    assert tally.get() == 2
    over.set()


def test_what_was_given_back_can_be_taken_again(sessions: Sessions) -> None:
    admission = Admission(sessions, LimitsSettings(open_jobs=1))
    ticket = admission.admit(ANYBODY)
    with pytest.raises(TooManyJobs):
        admission.admit(ANYBODY)
    ticket.settle(accepted=False)
    admission.admit(ANYBODY).settle(accepted=True)
    with pytest.raises(TooManyJobs):
        admission.admit(ANYBODY)
    admission.close()


def test_whoever_cannot_be_let_in_for_want_of_a_count_takes_no_room(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each outage of the database would leave a key with less room, until the process ends."""
    answers: Iterator[int | DatabaseUnavailable] = iter([DatabaseUnavailable("away"), 0])

    def queued(session: Session) -> int:
        if isinstance(answer := next(answers), DatabaseUnavailable):
            raise answer
        return answer

    monkeypatch.setattr(load, "queued", queued)
    admission = Admission(sessions, LimitsSettings(open_jobs=1))
    with pytest.raises(DatabaseUnavailable):
        admission.admit(ANYBODY)
    admission.admit(ANYBODY).settle(accepted=False)
    admission.close()
