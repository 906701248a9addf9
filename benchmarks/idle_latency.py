"""What a voice note costs beside its engines, when nothing else is going on.

One Ogg/Opus note of two seconds after the other, over HTTP, with fake engines of 20 ms each. Measured from the first
byte of the upload to the job's `finished_at` (the same clock, since all is on one machine), and to the moment when a
client that waits with `Prefer: wait` has the answer. The engines' own time, as the job reports it, is taken off;
decoding, encoding, storing and everything else is in.
"""

import statistics
import time
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from benchmarks.notes import beep
from benchmarks.report import spread
from voxqueue.embedded import running_stack

RUNS, NOTES, WARM = 5, 40, 20
_FAKE = {"VOXQUEUE_ENGINES": "fake", "VOXQUEUE_FAKE_FIXED_MS": "20", "VOXQUEUE_FAKE_PER_ITEM_MS": "0"}


def measure() -> dict[str, Any]:
    note = beep()
    with (
        TemporaryDirectory(prefix="voxqueue-bench-") as folder,
        running_stack(Path(folder), env=_FAKE) as stack,
        httpx.Client(base_url=stack.api_url, timeout=30) as http,
    ):
        for _ in range(WARM):
            _overheads_ms(http, note)
        runs = [[_overheads_ms(http, note) for _ in range(NOTES)] for _ in range(RUNS)]
    to_succeeded = [statistics.median(one for one, _ in run) for run in runs]
    to_answer = [statistics.median(other for _, other in run) for run in runs]
    return {
        "what": f"overhead of a voice note in ms, p50 of {NOTES} notes in each of {RUNS} runs",
        "aim": "submit to succeeded <= 30",
        "submit_to_succeeded_p50_ms": spread(to_succeeded, 1),
        "submit_to_answer_p50_ms": spread(to_answer, 1),
        "reached": statistics.median(to_succeeded) <= 30,
    }


def _overheads_ms(http: httpx.Client, note: bytes) -> tuple[float, float]:
    """Milliseconds to the commit of the result, and to the client's knowing of it, less the engines' time."""
    began = time.time()
    sent = http.post("/v1/voice-notes", files={"file": ("note.ogg", note)})
    sent.raise_for_status()
    job = http.get(sent.headers["Location"], headers={"Prefer": "wait=20"}).json()
    answered = time.time()
    assert job["state"] == "succeeded", job
    engines_ms = sum(run["run_ms"] for run in job["stages"])
    finished = datetime.fromisoformat(job["finished_at"]).timestamp()
    return (finished - began) * 1000 - engines_ms, (answered - began) * 1000 - engines_ms
