"""Priorities with a real worker: high jobs go first mostly, and none starves."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from voxqueue.database.session import Sessions
from voxqueue.embedded import embedded_redis
from voxqueue.jobs import submission
from voxqueue.jobs.kinds import Kind, Priority
from voxqueue.jobs.submission import Wishes
from voxqueue.keys.caller import ANYBODY
from voxqueue.queue import _PRIORITIES, JobQueue
from voxqueue.redis_transport import WEIGHTS, Steps
from voxqueue.settings import DatabaseSettings, RedisSettings, Settings

pytestmark = pytest.mark.integration

HIGH, NORMAL, LOW = 240, 80, 40


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Iterator[Settings]:
    """With a Redis of the test's own: others have left their hints in the one that all share."""
    with embedded_redis(tmp_path / "redis", durable=False) as url:
        yield Settings(database=DatabaseSettings(url=database_url), redis=RedisSettings(url=url))


@contextmanager
def worker(settings: Settings, blobs: Path) -> Iterator[None]:
    """A worker for replies, one at a time."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("VOXQUEUE_")}
    env = {
        **ours,
        "VOXQUEUE_DATABASE_URL": settings.database.require_url(),
        "VOXQUEUE_REDIS_URL": settings.redis.require_url(),
        "VOXQUEUE_STORAGE_DIR": str(blobs),
        "VOXQUEUE_ENGINES": "fake",
        "VOXQUEUE_FAKE_FIXED_MS": "1",
        "VOXQUEUE_LLM_MAX_BATCH": "1",
    }
    argv = [sys.executable, "-m", "workers", "worker", "--stages", "llm"]
    process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def queue_jobs(sessions: Sessions, settings: Settings, priorities: list[Priority]) -> None:
    wishes = [Wishes(kind=Kind.REPLY, text="hi", priority=priority) for priority in priorities]
    with sessions.begin() as session:
        hints = [submission.hint(submission.submit(session, ANYBODY, one)) for one in wishes]
    queue = JobQueue(settings)
    assert queue.hint(hints)
    queue.close()


def finished(sessions: Sessions) -> list[Priority]:
    """The priorities of the jobs that have finished, in that order."""
    with sessions() as session:
        rows = session.execute(text("SELECT priority FROM jobs WHERE state = 'succeeded' ORDER BY finished_at"))
        return [Priority(row[0]) for row in rows]


def until_finished(sessions: Sessions, jobs: int) -> list[Priority]:
    give_up = time.monotonic() + 90
    while len(done := finished(sessions)) < jobs:
        assert time.monotonic() < give_up, f"{len(done)} of {jobs} have finished"
        time.sleep(0.1)
    return done


def test_low_jobs_finish_long_before_the_high_ones_are_through(
    settings: Settings, sessions: Sessions, blobs: Path
) -> None:
    """Of 17 jobs taken 12 are high, 4 normal and 1 low. That the first half has no low one: 1 in 16,000."""
    queue_jobs(sessions, settings, [Priority.LOW] * LOW + [Priority.NORMAL] * NORMAL + [Priority.HIGH] * HIGH)
    with worker(settings, blobs):
        order = until_finished(sessions, HIGH + NORMAL + LOW)
    early = Counter(order[: (HIGH + NORMAL) // 2])
    assert early[Priority.LOW] >= 1, "it would starve for as long as high ones keep coming"
    assert early[Priority.HIGH] > early[Priority.NORMAL] > early[Priority.LOW], "high goes first mostly"
    assert early[Priority.HIGH] > sum(early.values()) / 2


def test_priorities_that_nobody_has_cost_nothing(settings: Settings, sessions: Sessions, blobs: Path) -> None:
    """A list that is empty is passed over at once, wherever it was drawn."""
    with worker(settings, blobs):
        for priority in Priority:
            queue_jobs(sessions, settings, [priority] * 5)
        assert Counter(until_finished(sessions, 15)) == dict.fromkeys(Priority, 5)


def test_every_list_is_named_in_every_order_that_is_drawn() -> None:
    assert set(WEIGHTS) == set(_PRIORITIES.values()), "a list that is not named is never emptied"
    assert list(WEIGHTS) == sorted(WEIGHTS), "kombu looks them up by bisection"
    steps = Steps(WEIGHTS)
    orders = Counter(tuple(steps) for _ in range(4_000))
    assert {frozenset(order) for order in orders} == {frozenset(WEIGHTS)}
    first = Counter(order[0] for order in orders.elements())
    share = {step: weight / sum(WEIGHTS.values()) for step, weight in WEIGHTS.items()}
    assert {step: number / 4_000 for step, number in first.items()} == pytest.approx(share, abs=0.04)
