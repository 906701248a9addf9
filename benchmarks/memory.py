"""Whether memory creeps: RSS of API and worker after 2,000 voice notes against that after 200."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil

from benchmarks.notes import beep
from voxqueue.embedded import running_stack

EARLY, LATE = 200, 2_000
_FAKE = {
    "VOXQUEUE_ENGINES": "fake",
    "VOXQUEUE_FAKE_FIXED_MS": "5",
    "VOXQUEUE_FAKE_PER_ITEM_MS": "0",
    "VOXQUEUE_LIMITS_REQUESTS": "1000000/minute",
}
_SENDERS = 8


def measure() -> dict[str, Any]:
    note = beep()
    with TemporaryDirectory(prefix="voxqueue-bench-") as folder, running_stack(Path(folder), env=_FAKE) as stack:
        pids = {name: stack.process(name) for name in ("api", "worker-1")}
        with httpx.Client(base_url=stack.api_url, timeout=60) as http, ThreadPoolExecutor(_SENDERS) as pool:
            list(pool.map(lambda _: _send(http, note), range(EARLY)))
            early = {name: rss_mib(pid) for name, pid in pids.items()}
            list(pool.map(lambda _: _send(http, note), range(LATE - EARLY)))
            late = {name: rss_mib(pid) for name, pid in pids.items()}
    growth = {name: round(late[name] / early[name], 3) for name in pids}
    return {
        "what": f"RSS after {LATE} voice notes over HTTP, divided by RSS after {EARLY}",
        "aim": "<= 1.10",
        "rss_mib_early": early,
        "rss_mib_late": late,
        "growth": growth,
        "reached": max(growth.values()) <= 1.10,
    }


def _send(http: httpx.Client, note: bytes) -> None:
    sent = http.post("/v1/voice-notes", files={"file": ("note.ogg", note)})
    sent.raise_for_status()
    job = http.get(sent.headers["Location"], headers={"Prefer": "wait=30"}).json()
    assert job["state"] == "succeeded", job


def rss_mib(pid: int) -> float:
    """The memory of a process that is in RAM now."""
    return round(psutil.Process(pid).memory_info().rss / 2**20, 1)
