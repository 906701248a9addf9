"""What operators are told of the fleet at work, and who is told it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from api.counts import QueueCounts
from api.operations import Operations
from tests.integration.conftest import serving
from tests.keys import bearer, make_key
from voxqueue.database.session import Sessions
from voxqueue.fleet import EngineStatus, Fleet, StageReport, WorkerReport
from voxqueue.jobs import statistics
from voxqueue.keys.caller import DEFAULT_TENANT, Scope
from voxqueue.settings import ApiSettings, DatabaseSettings, RedisSettings, Settings, WorkerSettings
from voxqueue.stages import Stage

pytestmark = pytest.mark.integration

PATH = "/api/operations"

_JOB = text("""
    INSERT INTO jobs (id, tenant, kind, state, stage, priority, audio_format, metadata, attempt, lost_leases, error,
        finished_at)
    VALUES (:id, :tenant, 'reply', :state, 'llm', 'normal', 'ogg', '{}', 1, 0, CAST(:error AS jsonb),
        now() - make_interval(mins => :minutes_ago))
""")
_RUN = text("""
    INSERT INTO stage_runs (job_id, stage, position, state, failures, ready_at, started_at, finished_at, run_ms,
        batch_size)
    VALUES (:id, 'llm', 0, 'succeeded', 0, now() - interval '3 seconds', now() - interval '2 seconds', now(), 500,
        :batch)
""")


def add_ended(
    sessions: Sessions,
    state: str = "succeeded",
    *,
    minutes_ago: int = 0,
    batches: Sequence[int] = (),
    error: str | None = None,
) -> None:
    """Jobs that have ended, one for each of the batch sizes, else one without a run."""
    with sessions.begin() as session:
        for batch in batches or (0,):
            job = {
                "id": uuid4(),
                "tenant": f"tenant-{batch}" if batch else DEFAULT_TENANT,
                "state": state,
                "minutes_ago": minutes_ago,
                "error": error,
            }
            session.execute(_JOB, job)
            if batch:
                session.execute(_RUN, {"id": job["id"], "batch": batch})


@pytest.fixture
def fleet(api_settings: Settings) -> Fleet:
    return Fleet(api_settings.redis, WorkerSettings())


def test_it_tells_of_workers_queues_throughput_batches_and_failures(
    api: httpx.Client, sessions: Sessions, fleet: Fleet
) -> None:
    report = StageReport(status=EngineStatus.READY, progress=100, engine="fake", model="fake", device="cpu")
    fleet.beat(WorkerReport(worker="w1", host="here", pid=1, stages={Stage.LLM: report}))
    add_ended(sessions, batches=[1, 4, 4, 8])
    add_ended(sessions, minutes_ago=30)
    for number in (1, 2):
        add_ended(
            sessions,
            "failed",
            minutes_ago=90 // number,
            error=f'{{"type": "urn:x", "title": "It broke", "detail": "The {number}.", "stage": "llm"}}',
        )
    try:
        body = api.get(PATH).json()
    finally:
        fleet.leave("w1")
        fleet.close()
    assert [worker["worker"] for worker in body["workers"]] == ["w1"]
    assert body["workers"][0]["stages"]["llm"]["device"] == "cpu"
    assert body["queues"]["llm"]["depth"] == 0
    minutes = body["statistics"]["throughput"]
    assert len(minutes) == 60
    assert sum(minute["succeeded"] for minute in minutes[-2:]) == 4  # a minute may begin at any moment
    assert (sum(minute["succeeded"] for minute in minutes), sum(minute["failed"] for minute in minutes)) == (5, 1)
    [pace] = body["statistics"]["paces"]
    assert (pace["stage"], pace["runs"], pace["mean_batch"]) == ("llm", 4, 4.25)
    assert pace["batches"] == {"1": 1, "4": 2, "8": 1}
    assert pace["wait_p50_ms"] == pytest.approx(1000)
    assert pace["run_p95_ms"] == pytest.approx(500)
    [failure] = body["statistics"]["failures"]
    assert (failure["stage"], failure["title"], failure["count"]) == ("llm", "It broke", 2)
    assert failure["detail"] == "The 2.", "the last of them"
    assert "tenant" not in failure


def test_an_idle_fleet_has_sixty_empty_minutes_and_nothing_else(sessions: Sessions, fleet: Fleet) -> None:
    found = Operations(sessions, fleet, QueueCounts(sessions), None).get(DEFAULT_TENANT).statistics
    fleet.close()
    assert found is not None
    assert (found.paces, found.failures) == ([], [])
    moments = [minute.at for minute in found.throughput]
    assert {later - earlier for earlier, later in pairwise(moments)} == {timedelta(minutes=1)}
    assert moments[-1] <= datetime.now(UTC) < moments[-1] + timedelta(minutes=2)


def test_of_another_tenants_failed_job_the_reason_is_told_alone(sessions: Sessions, fleet: Fleet) -> None:
    add_ended(
        sessions, "failed", error='{"type": "urn:x", "title": "It broke", "detail": "In private.", "stage": "llm"}'
    )
    operations = Operations(sessions, fleet, QueueCounts(sessions), None)
    ours, theirs = operations.get(DEFAULT_TENANT).statistics, operations.get("another").statistics
    fleet.close()
    assert ours
    assert theirs
    assert (ours.failures[0].detail, ours.failures[0].job_id is None) == ("In private.", False)
    assert (theirs.failures[0].title, theirs.failures[0].detail, theirs.failures[0].job_id) == ("It broke", None, None)


def test_what_failed_longer_than_a_day_ago_is_not_told(sessions: Sessions) -> None:
    add_ended(sessions, "failed", minutes_ago=60 * 25, error='{"type": "urn:x", "title": "Old", "detail": "Old."}')
    with sessions() as session:
        assert statistics.failure_reasons(session) == []


def test_only_administrators_may_see_it(api_settings: Settings, sessions: Sessions) -> None:
    asks_for_keys = api_settings.model_copy(update={"api": ApiSettings(keys="required")})
    with serving(asks_for_keys) as url:
        statuses = {
            "nobody": httpx.get(url + PATH).status_code,
            "a tenant": httpx.get(url + PATH, headers=bearer(make_key(sessions, Scope.JOBS_READ))).status_code,
            "an admin": httpx.get(url + PATH, headers=bearer(make_key(sessions, Scope.ADMIN))).status_code,
        }
    assert statuses == {"nobody": 401, "a tenant": 403, "an admin": 200}


def test_it_answers_while_the_database_and_redis_are_away(api_settings: Settings) -> None:
    away = api_settings.model_copy(
        update={
            "database": DatabaseSettings(url="postgresql://127.0.0.1:9/none"),
            "redis": RedisSettings(url="redis://127.0.0.1:9/0"),
        }
    )
    with serving(away) as url:
        answer = httpx.get(url + PATH, timeout=20)
    assert answer.status_code == 200
    body = answer.json()
    assert body["workers"] is body["queues"] is body["statistics"] is None


def test_a_count_that_takes_long_is_kept_for_longer(
    sessions: Sessions, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a busy fleet would be counted all the time, because somebody looks at it."""
    now = [100.0]
    counted = []

    def slow(_: object) -> list[statistics.Minute]:
        counted.append(now[0])
        now[0] += 0.5
        return []

    monkeypatch.setattr("api.operations.time.monotonic", lambda: now[0])
    monkeypatch.setattr(statistics, "throughput", slow)
    looked_at = Operations(sessions, fleet, QueueCounts(sessions), None)
    for moment in (100.0, 102.0, 109.0, 110.0, 111.0):
        now[0] = moment
        looked_at.get(DEFAULT_TENANT)
    fleet.close()
    assert counted == [100.0, 110.0]


def test_recent_failures_are_found_by_their_own_index(sessions: Sessions) -> None:
    """A day has millions of jobs, of which few fail."""
    with sessions() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        query = "SELECT count(*) FROM jobs WHERE state = 'failed' AND finished_at > now() - interval '1 day'"
        plan = "\n".join(session.scalars(text(f"EXPLAIN {query}")))
    assert "ix_jobs_failed" in plan
