"""What watching costs: 1,000 who poll the readiness report and 500 who follow it live, while jobs run.

The watchers are a process of their own on the same machine. Each poller asks every two seconds, as `Retry-After` says;
half of the followers follow the fleet, half all jobs. Throughput with and without them is measured in turn. The engine
is a fake one as slow as a small model on a GPU, so that jobs wait for it, and not for this machine's processor.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from benchmarks.memory import rss_mib
from benchmarks.report import spread
from voxqueue.embedded import running_stack

RUNS, JOBS = 5, 600
POLLERS, FOLLOWERS, STREAMS = 1_000, 500, 1_000
_POLL_S = 2.0
_SENDERS = 64
_BACKLOG = 50  # connections that are opened at a time
_STREAM_PATHS = ("/api/ready/stream", "/v1/events")
_ENV = {
    "VOXQUEUE_ENGINES": "fake",
    "VOXQUEUE_FAKE_FIXED_MS": "200",
    "VOXQUEUE_FAKE_PER_ITEM_MS": "5",
    "VOXQUEUE_LIMITS_REQUESTS": "100000000/minute",
}


def measure() -> dict[str, Any]:
    with TemporaryDirectory(prefix="voxqueue-bench-") as folder, running_stack(Path(folder), env=_ENV) as stack:
        api = stack.process("api")
        # As many connections as senders: httpx closes those above its usual 20 after every request, while others run.
        with httpx.Client(
            base_url=stack.api_url, timeout=60, limits=httpx.Limits(max_keepalive_connections=_SENDERS)
        ) as http:
            _jobs_per_s(http)  # once for nothing: connections are made, statements prepared
            before = rss_mib(api)
            with _watching(stack.api_url, pollers=0, followers=STREAMS):
                after = rss_mib(api)
            alone, watched, polls, costs = [], [], [], []
            for _ in range(RUNS):
                spent = _processor_s(api)
                alone.append(_jobs_per_s(http))
                costs.append(1000 * (_processor_s(api) - spent) / JOBS)
                with _watching(stack.api_url, pollers=POLLERS, followers=FOLLOWERS) as asked:
                    watched.append(_jobs_per_s(http))
                polls.append(asked())
    kept = spread([with_them / without for with_them, without in zip(watched, alone, strict=True)])
    return {
        "what": f"jobs a second while {POLLERS} poll /api/ready and {FOLLOWERS} follow events, against nobody watching",
        "aim": "throughput falls by less than 10 %",
        "jobs_per_s_alone": spread(alone, 1),
        "jobs_per_s_watched": spread(watched, 1),
        "kept": kept,
        "polls_per_s": spread(polls, 0),
        "api_processor_ms_per_job_alone": spread(costs, 1),
        "streams": {"open": STREAMS, "api_rss_mib_before": before, "api_rss_mib_with_them": after},
        "kib_per_stream": round((after - before) * 1024 / STREAMS, 1),
        "reached": kept["median"] > 0.9,
    }


def _jobs_per_s(http: httpx.Client) -> float:
    def run(number: int) -> None:
        sent = http.post("/v1/texts", json={"kind": "reply", "text": f"job {number}"})
        sent.raise_for_status()
        job = http.get(sent.headers["Location"], headers={"Prefer": "wait=60"}).json()
        assert job["state"] == "succeeded", job

    began = time.monotonic()
    with ThreadPoolExecutor(_SENDERS) as pool:
        list(pool.map(run, range(JOBS)))
    return JOBS / (time.monotonic() - began)


def _processor_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


@contextmanager
def _watching(url: str, *, pollers: int, followers: int) -> Iterator[Callable[[], float]]:
    """Have them watch inside the block; what is yielded says afterwards how many polls a second there were."""
    argv = [sys.executable, "-m", "benchmarks.watchers", url, str(pollers), str(followers)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "all there\n", "the watchers did not get in"
        said: list[float] = []
        try:
            yield lambda: said[0]
            process.stdin.close()
            said.append(float(process.stdout.readline()))
        finally:
            process.kill()


# --- the watchers' process --------------------------------------------------------------------------------------------


class _Crowd:
    """Everybody who watches. Written for little work: it shares the processor with what is measured."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._host, self._port = parts.hostname, parts.port
        self._doors = asyncio.Semaphore(_BACKLOG)
        self.polls = 0

    async def poll(self, offset_s: float, inside: asyncio.Event) -> None:
        request = f"GET /api/ready HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode()
        reader = writer = None
        await asyncio.sleep(offset_s)
        while True:
            began = time.monotonic()
            if writer is None or reader is None or reader.at_eof():
                async with self._doors:
                    reader, writer = await asyncio.open_connection(self._host, self._port)
            try:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
                await reader.readexactly(int(length.split(b":")[1]))
            except (asyncio.IncompleteReadError, ConnectionError):  # kept open for less long than between two polls
                writer.close()
                writer = None
                continue
            assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503")), head
            self.polls += 1
            inside.set()
            await asyncio.sleep(max(0.0, began + _POLL_S - time.monotonic()))

    async def follow(self, path: str, inside: asyncio.Event) -> None:
        async with self._doors:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        inside.set()
        while await reader.read(65_536):
            pass
        raise AssertionError(f"{path} has ended")


async def _watch(url: str, pollers: int, followers: int) -> None:
    crowd = _Crowd(url)
    doors = [asyncio.Event() for _ in range(pollers + followers)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(crowd.poll(_POLL_S * n / pollers, doors[n])) for n in range(pollers)]
        for door, path in zip(doors[pollers:], islice(cycle(_STREAM_PATHS), followers), strict=True):
            tasks.append(group.create_task(crowd.follow(path, door)))
        for door in doors:
            await door.wait()
        polls, began = crowd.polls, time.monotonic()
        print("all there", flush=True)
        await asyncio.to_thread(sys.stdin.read)  # until told to stop
        print((crowd.polls - polls) / (time.monotonic() - began), flush=True)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(_watch(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
