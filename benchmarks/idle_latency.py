"""What a voice note costs beside its engines, when nothing else is going on.

One note after the other, from the first byte of the upload to the answer that says `succeeded`, over HTTP, with fake
engines of 20 ms each; their own time, as the job reports it, is taken off.
"""

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np

from benchmarks.report import spread
from voxqueue.audio import AudioFormat, encode
from voxqueue.embedded import running_stack

RUNS, NOTES, WARM = 5, 40, 20
_FAKE = {"VOXQUEUE_ENGINES": "fake", "VOXQUEUE_FAKE_FIXED_MS": "20", "VOXQUEUE_FAKE_PER_ITEM_MS": "0"}


def measure() -> dict[str, Any]:
    seconds = np.arange(3 * 16_000) / 16_000
    note = encode((0.3 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32), 16_000, AudioFormat.OGG)
    with (
        TemporaryDirectory(prefix="voxqueue-bench-") as folder,
        running_stack(Path(folder), env=_FAKE) as stack,
        httpx.Client(base_url=stack.api_url, timeout=30) as http,
    ):
        for _ in range(WARM):
            _overhead_ms(http, note)
        runs = [[_overhead_ms(http, note) for _ in range(NOTES)] for _ in range(RUNS)]
    return {
        "what": f"submit to succeeded minus the engines' time, ms; {RUNS} runs of {NOTES} notes of 3 s",
        "aim": "p50 <= 30 ms",
        "p50_ms": spread([statistics.median(run) for run in runs], 1),
        "p95_ms": spread([statistics.quantiles(run, n=20)[-1] for run in runs], 1),
        "reached": statistics.median(statistics.median(run) for run in runs) <= 30,
    }


def _overhead_ms(http: httpx.Client, note: bytes) -> float:
    began = time.perf_counter()
    sent = http.post("/v1/voice-notes", files={"file": ("note.ogg", note)})
    sent.raise_for_status()
    job = http.get(sent.headers["Location"], headers={"Prefer": "wait=20"}).json()
    took_ms = (time.perf_counter() - began) * 1000
    assert job["state"] == "succeeded", job
    return took_ms - float(sum(run["run_ms"] for run in job["stages"]))
