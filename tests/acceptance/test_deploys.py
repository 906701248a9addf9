"""What a deploy does to the jobs under way: the stack is asked to end, and a new one finds what it has left."""

from pathlib import Path

import psycopg
import pytest

from tests.acceptance.conftest import start
from tests.patience import until
from voxqueue.client import Client
from voxqueue.database.session import Sessions
from voxqueue.jobs.kinds import Kind
from voxqueue.urls import for_psql

pytestmark = pytest.mark.acceptance

_WAIT_S = 90
_JOBS = 8
_ENV = {
    "VOXQUEUE_ENGINES": "fake",
    "VOXQUEUE_FAKE_FIXED_MS": "30",
    "VOXQUEUE_JOBS_LEASE_S": "4",
    "VOXQUEUE_JOBS_SWEEP_S": "1",
    "VOXQUEUE_JOBS_HINT_STALE_S": "2",
    "VOXQUEUE_LLM_MAX_BATCH": "2",  # so that most jobs wait while two are in the engine
}


@pytest.mark.parametrize(("grace_s", "finishes"), [("0", False), ("30", True)])
def test_nothing_is_lost_when_the_stack_is_replaced(
    sessions: Sessions, database_url: str, tmp_path: Path, grace_s: str, finishes: bool
) -> None:
    """With grace, the model call that runs is finished and committed; without, its jobs go back like all others."""
    storage = tmp_path / "blobs"
    storage.mkdir()
    env = {
        **_ENV,
        "VOXQUEUE_DATABASE_URL": database_url,
        "VOXQUEUE_STORAGE_DIR": str(storage),
        "VOXQUEUE_WORKER_GRACE_S": grace_s,
    }

    def ask(query: str) -> list[tuple[int, ...]]:
        with psycopg.connect(for_psql(database_url)) as connection:
            return connection.execute(query.encode()).fetchall()

    with start(env) as stack, Client(stack.api_url) as client:
        for number in range(_JOBS):
            client.send_text(f"!hang:2@llm number {number}", kind=Kind.CHAT)
        until(lambda: ask("SELECT count(*) FROM jobs WHERE state = 'running'") == [(_JOBS,)], _WAIT_S)
    left = "SELECT count(*) FILTER (WHERE state = 'queued'), sum(lost_leases) FROM jobs"
    assert ask(left) == [(_JOBS, 0)], "all are handed back, and none is found lying"
    calls = ask("SELECT batch_size, count(*) FROM stage_runs WHERE stage = 'llm' AND state = 'succeeded' GROUP BY 1")
    assert bool(calls) == finishes
    assert all(jobs % size == 0 for size, jobs in calls), "a call that ended is committed for all of its jobs"
    with start({**env, "VOXQUEUE_WORKER_GRACE_S": "30"}):
        until(lambda: ask("SELECT count(*) FROM jobs WHERE state = 'succeeded'") == [(_JOBS,)], _WAIT_S)
    assert ask("SELECT max(lost_leases) FROM jobs") == [(0,)]
    assert len(list(storage.rglob("*.ogg"))) == _JOBS
