"""A deep backlog: 50,000 jobs over HTTP with no worker there, then one worker that takes them all.

Watched are how long the API takes to accept a job when nothing waits and when nearly everything does, how the memory of
API and worker grows, and that every job comes to one end. It takes a quarter of an hour and is not one of the
benchmarks that run by default: ``make soak``.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from sqlalchemy import text

from benchmarks.memory import rss_mib
from voxqueue.database.session import Sessions, open_engine, open_sessions
from voxqueue.embedded import Stack, running_stack
from voxqueue.settings import DatabaseSettings

JOBS = int(os.environ.get("SOAK_JOBS", "50000"))
_SAMPLE = 2_000  # accepts whose times are compared, at the beginning and at the end
_SENDERS = 4
_LOOK_S = 2.0
_ENV = {
    "VOXQUEUE_ENGINES": "fake",
    "VOXQUEUE_FAKE_FIXED_MS": "20",
    "VOXQUEUE_FAKE_PER_ITEM_MS": "1",
    "VOXQUEUE_LLM_MAX_BATCH": "32",
    "VOXQUEUE_LIMITS_OPEN_JOBS": "1000000",
    "VOXQUEUE_LIMITS_QUEUED_JOBS": "1000000",
    "VOXQUEUE_LIMITS_REQUESTS": "100000000/minute",
    "VOXQUEUE_LOG_LEVEL": "warning",
}


def measure() -> dict[str, Any]:
    with (
        TemporaryDirectory(prefix="voxqueue-bench-") as folder,
        running_stack(Path(folder), env=_ENV, workers=(), ready_s=None) as stack,
    ):
        engine = open_engine(DatabaseSettings(url=stack.env["VOXQUEUE_DATABASE_URL"]))
        sessions = open_sessions(engine)
        accepts, api_rss = _fill(stack)
        worker_rss, seconds = _drain(stack, sessions)
        outcome = _outcome(sessions)
        engine.dispose()
    empty, full = _p99_ms(accepts[:_SAMPLE]), _p99_ms(accepts[-_SAMPLE:])
    growth = {name: round(rss[-1] / rss[0], 3) for name, rss in (("api", api_rss), ("worker", worker_rss))}
    return {
        "what": f"{JOBS} jobs queued over HTTP without a worker, then run by one worker with fake engines",
        "aim": "each job has one end; p99 of the accept at most twice that at an empty queue; RSS growth <= 1.10",
        "outcome": outcome,
        "accept_p99_ms": {"empty_queue": empty, "full_queue": full, "ratio": round(full / empty, 2)},
        "accept_p50_ms": {
            "empty_queue": round(statistics.median(accepts[:_SAMPLE]), 2),
            "full_queue": round(statistics.median(accepts[-_SAMPLE:]), 2),
        },
        "rss_mib": {"api": api_rss, "worker": worker_rss},
        "rss_growth": growth,
        "drained_jobs_per_s": round(JOBS / seconds, 1),
        "reached": outcome == {"succeeded": JOBS, "results": JOBS}
        and full <= 2 * empty
        and max(growth.values()) <= 1.10,
    }


def _fill(stack: Stack) -> tuple[list[float], list[float]]:
    """Milliseconds of each accept, in their order, and the API's memory from the first fifth on."""
    pid = stack.process("api")
    while not _alive(stack.api_url):
        time.sleep(0.1)
    times: list[float] = []
    memory: list[float] = []
    with httpx.Client(base_url=stack.api_url, timeout=60) as http, ThreadPoolExecutor(_SENDERS) as pool:

        def send(number: int) -> float:
            began = time.perf_counter()
            http.post("/v1/texts", json={"kind": "reply", "text": f"job {number}"}).raise_for_status()
            return (time.perf_counter() - began) * 1000

        list(pool.map(send, range(200)))  # connections are made, statements are prepared
        for fifth in range(5):
            times += pool.map(send, range(200 if fifth == 0 else 0, JOBS // 5))
            memory.append(rss_mib(pid))
            print(f"soak: {(fifth + 1) * JOBS // 5} queued", file=sys.stderr)
    return times, memory


def _drain(stack: Stack, sessions: Sessions) -> tuple[list[float], float]:
    """The worker's memory at each fifth of the jobs, and the seconds from its first job to the last."""
    memory: list[float] = []
    argv = [sys.executable, "-m", "voxqueue", "worker", "--stages", "llm"]
    worker = subprocess.Popen(argv, env={**stack.env, **_ENV})
    began = 0.0
    try:
        while len(memory) < 5:
            time.sleep(_LOOK_S)
            assert worker.poll() is None, "the worker has died"
            with sessions() as session:
                done = session.scalar(text("SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL")) or 0
            began = began or (time.monotonic() if done else 0.0)
            while done >= (len(memory) + 1) * JOBS // 5:
                memory.append(rss_mib(worker.pid))
                print(f"soak: {done} done", file=sys.stderr)
        return memory, time.monotonic() - began
    finally:
        worker.terminate()
        worker.wait(30)


def _outcome(sessions: Sessions) -> dict[str, int]:
    """How many jobs are in which state, and how many results there are."""
    with sessions() as session:
        rows = session.execute(text("SELECT state, count(*) FROM jobs GROUP BY state"))
        states = {state: int(number) for state, number in rows}
        results = session.scalar(text("SELECT count(*) FROM stage_runs WHERE result IS NOT NULL"))
    return {**states, "results": results or 0}


def _p99_ms(times: Sequence[float]) -> float:
    return round(statistics.quantiles(times, n=100)[98], 2)


def _alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).is_success
    except httpx.TransportError:
        return False
