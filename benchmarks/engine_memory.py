"""Whether an engine's memory creeps: RSS after 100 batches and after 1,100, with the tiny models of the tests.

The engines run one after the other in this process, each asked as a worker asks it, two requests of changing length to
a batch. Afterwards it is closed and loaded again ten times, which must not add up either.
"""

import gc
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.memory import rss_mib
from benchmarks.notes import spoken_notes
from tests.models.prepare import PREPARE
from voxqueue.settings import StageSettings
from voxqueue.stages import LlmRequest, Stage, SttRequest, TtsRequest
from workers.engines.base import AnyEngine
from workers.engines.registry import ENGINES, create_engine
from workers.serving import Served

FIRST, BATCHES, RELOADS = 100, 1_000, 10
_MOST_GROWTH = 1.10
_TEXT = "nobody told us that the train to the coast leaves at seven today and lunch is served on board"


def measure() -> dict[str, Any]:
    found = {
        f"{stage}_{name}": _measure_one(stage, name) for stage in Stage for name in ENGINES[stage] if name in PREPARE
    }
    return {
        "what": f"RSS in MiB after {FIRST} batches, {BATCHES:,} more, and {RELOADS} times closing and loading",
        "aim": f"growth <= {_MOST_GROWTH}",
        "engines": found,
        "reached": all(one["growth"] <= _MOST_GROWTH for one in found.values()),
    }


def _measure_one(stage: Stage, name: str) -> dict[str, float]:
    make = _requests(stage)
    with TemporaryDirectory(prefix="voxqueue-bench-") as folder, PREPARE[name](Path(folder)) as settings:
        engine = create_engine(stage, name, settings)
        engine.load()
        _run(engine, make, FIRST)
        first = _rss_mib()
        _run(engine, make, BATCHES)
        last = _rss_mib()
        for _ in range(RELOADS):
            engine.close()
            engine.load()
        reloaded = _rss_mib()
        engine.close()
    return {
        "after_first": first,
        "after_all": last,
        "after_reloads": reloaded,
        "growth": round(max(last, reloaded) / first, 3),
    }


def _run(engine: AnyEngine, make: Callable[[int], Any], batches: int) -> None:
    served = Served(engine, StageSettings(max_batch=2, max_cost=1e9))
    for number in range(batches):
        served.infer_together([make(2 * number), make(2 * number + 1)])
    served.stop(wait_s=10)


def _requests(stage: Stage) -> Callable[[int], Any]:
    """Makes requests of changing length."""
    if stage is Stage.STT:
        notes = spoken_notes(32, 1, 8)
        return lambda number: SttRequest(audio=[notes[number % len(notes)]], language="en")
    kind = LlmRequest if stage is Stage.LLM else TtsRequest
    return lambda number: kind(text=" ".join(_TEXT.split()[: 3 + number % 14]), language="en")


def _rss_mib() -> float:
    gc.collect()
    return rss_mib(os.getpid())
