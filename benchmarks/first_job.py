"""Whether `ready` can be believed: the first voice note after it, against those that follow, with the embedded engines.

A fresh stack each run, as `voxqueue up` starts it; the note is spoken by espeak-ng.
"""

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.notes import spoken_notes
from benchmarks.report import spread
from voxqueue.audio import AudioFormat, encode
from voxqueue.client import Client
from voxqueue.embedded import running_stack
from voxqueue.stages import SAMPLE_RATE

RUNS, LATER = 5, 10
_ENV = {
    "VOXQUEUE_STT_ENGINES": "pocketsphinx",
    "VOXQUEUE_LLM_ENGINES": "echo",
    "VOXQUEUE_TTS_ENGINES": "espeak",
}


def measure() -> dict[str, Any]:
    note = encode(spoken_notes(1, 3.0, 3.0)[0], SAMPLE_RATE, AudioFormat.OGG)
    ready_s, first, later, ratios = [], [], [], []
    for _ in range(RUNS):
        with TemporaryDirectory(prefix="voxqueue-bench-") as folder:
            began = time.monotonic()
            with running_stack(Path(folder), env=_ENV) as stack, Client(stack.api_url) as client:
                ready_s.append(time.monotonic() - began)
                times = [_ms(client, note) for _ in range(1 + LATER)]
        first.append(times[0])
        later.append(statistics.median(times[1:]))
        ratios.append(times[0] / later[-1])
    result = spread(ratios)
    return {
        "what": f"ms from upload to answer: the first note after READY, against the median of the next {LATER}",
        "aim": "<= 1.5 times",
        "first_ms": spread(first, 1),
        "later_ms": spread(later, 1),
        "ratio": result,
        "seconds_to_ready": spread(ready_s, 1),
        "reached": result["median"] <= 1.5,
    }


def _ms(client: Client, note: bytes) -> float:
    began = time.monotonic()
    client.wait(client.send_note(note), timeout=60).raise_for_state()
    return (time.monotonic() - began) * 1000
