"""What batches bring: a backlog of jobs of one stage, with batches of at most 32 and with batches of 1.

The fake engine takes 20 ms per call and 1 ms per request, so 32 / 52 ms = 615 jobs a second is the ceiling. The jobs
are queued first; the time is the database's, from the first model call to the last commit.
"""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from sqlalchemy import text

from benchmarks.report import spread
from voxqueue.database.session import Sessions, open_engine, open_sessions
from voxqueue.embedded import running_stack
from voxqueue.jobs import repository
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.models import Job
from voxqueue.jobs.submission import hint
from voxqueue.queue import JobQueue
from voxqueue.settings import DatabaseSettings, RedisSettings, Settings

RUNS = 5
JOBS, JOBS_ONE_BY_ONE = 5_000, 500  # one by one, the rate is steady after a few dozen
LARGEST = 32
CEILING = LARGEST / 0.052
_FAKE = {"VOXQUEUE_ENGINES": "fake", "VOXQUEUE_FAKE_FIXED_MS": "20", "VOXQUEUE_FAKE_PER_ITEM_MS": "1"}


def measure() -> dict[str, Any]:
    with (
        TemporaryDirectory(prefix="voxqueue-bench-") as folder,
        running_stack(Path(folder), env=_FAKE, workers=(), ready_s=None) as stack,
    ):
        batched, single = [], []
        for _ in range(RUNS):  # in turns, so that a busy machine is busy for both
            batched.append(_run(stack.env, JOBS, LARGEST))
            single.append(_run(stack.env, JOBS_ONE_BY_ONE, 1))
    rates = [one["jobs_per_s"] for one in batched]
    ratios = [one["jobs_per_s"] / other["jobs_per_s"] for one, other in zip(batched, single, strict=True)]
    sizes = [one["mean_batch"] for one in batched]
    result: dict[str, Any] = {
        "what": f"{JOBS} queued jobs of one stage, one worker, batches of at most {LARGEST}, against batches of 1",
        "aim": "mean batch >= 16, >= 8x batches of 1, >= 0.6 of the ceiling",
        "ceiling_jobs_per_s": round(CEILING, 1),
        "jobs_per_s": spread(rates, 1),
        "jobs_per_s_one_by_one": spread([one["jobs_per_s"] for one in single], 1),
        "mean_batch": spread(sizes, 1),
        "times_one_by_one": spread(ratios, 2),
        "share_of_ceiling": spread([rate / CEILING for rate in rates], 3),
        "worker_cpu_ms_per_job": spread([one["cpu_ms_per_job"] for one in batched], 2),
    }
    aims = {"mean_batch": 16, "times_one_by_one": 8, "share_of_ceiling": 0.6}
    return {**result, "reached": all(result[name]["median"] >= aim for name, aim in aims.items())}


def _run(env: Mapping[str, str], jobs: int, largest: int) -> dict[str, float]:
    engine = open_engine(DatabaseSettings(url=env["VOXQUEUE_DATABASE_URL"]))
    sessions = open_sessions(engine)
    _fill(sessions, Settings(redis=RedisSettings(url=env["VOXQUEUE_REDIS_URL"])), jobs)
    argv = [sys.executable, "-m", "voxqueue", "worker", "--stages", "llm"]
    settings = {"VOXQUEUE_LLM_MAX_BATCH": str(largest), "VOXQUEUE_LOG_LEVEL": "warning"}
    worker = subprocess.Popen(argv, env={**env, **settings})
    try:
        _await_all(sessions, jobs)
        cpu_s = _cpu_s(worker.pid)
    finally:
        worker.terminate()
        worker.wait(20)
    with sessions() as session:
        row = session.execute(
            text(
                "SELECT count(*) / extract(epoch FROM max(finished_at) - min(started_at)), avg(batch_size) "
                "FROM stage_runs"
            )
        ).one()
    engine.dispose()
    return {"jobs_per_s": float(row[0]), "mean_batch": float(row[1]), "cpu_ms_per_job": cpu_s * 1000 / jobs}


def _fill(sessions: Sessions, settings: Settings, jobs: int) -> None:
    with sessions.begin() as session:
        session.execute(text("TRUNCATE jobs, stage_runs, notes CASCADE"))
    queue = JobQueue(settings)
    for start in range(0, jobs, 500):
        made = [
            Job(kind=Kind.REPLY, text=f"job {number}", audio_format="ogg", client_metadata={})
            for number in range(start, min(start + 500, jobs))
        ]
        with sessions.begin() as session:
            for job in made:
                repository.add(session, job)
        assert queue.hint([hint(job) for job in made])
    queue.close()
    with sessions() as session:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"}).execute(text("ANALYZE"))


def _await_all(sessions: Sessions, jobs: int, timeout_s: float = 120) -> None:
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        with sessions() as session:
            if session.scalar(text("SELECT count(*) FROM jobs WHERE state = 'succeeded'")) == jobs:
                return
        time.sleep(0.5)
    raise TimeoutError(f"not all of {jobs} jobs have succeeded within {timeout_s:g} s")


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
