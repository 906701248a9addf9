"""How much of a batch is padding: windows in the order in which they arrive, against the batcher's choice.

Notes of 2 to 60 s are cut into windows by the real voice detector and asked for by 64 threads, as in a worker; the
engine only writes its batches down. A batch costs its number times its longest: the decoder's steps always do, and the
encoder's frames do with short windows. With whole windows the encoder works on 30 s whatever is said in them.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.notes import spoken_notes
from benchmarks.report import spread
from voxqueue.settings import Settings, SttSettings
from voxqueue.stages import SttRequest, SttResult
from workers.engines.base import Ask, SttEngine
from workers.engines.stt.windows import LONGEST_S, Windows
from workers.serving import Served

RUNS, NOTES, MAX_BATCH, THREADS = 5, 128, 16, 64


class _Recorder(SttEngine[float, float]):
    """Writes down the lengths of the windows in each batch."""

    name = "recorder"

    def __init__(self) -> None:
        super().__init__(Settings())
        self.batches: list[list[float]] = []

    def load(self) -> None: ...

    def run(self, batch: Sequence[float]) -> Sequence[float]:
        self.batches.append(list(batch))
        time.sleep(0.1)  # while a model is busy, the next batch gathers
        return batch

    def answer(self, request: SttRequest, ask: Ask[float, float]) -> SttResult:
        for _ in ask(window.clock.seconds for window in Windows(request.audio)):
            pass
        return SttResult(text="", language=None, audio_seconds=0)

    def cost(self, piece: float) -> float:
        return piece


def measure() -> dict[str, Any]:
    shares: dict[str, list[float]] = {"arrival_order": [], "ours": [], "whole_windows": []}
    for run in range(RUNS):
        requests = [SttRequest(audio=[note]) for note in spoken_notes(NOTES, 2, 60, seed=run)]
        engine = _Recorder()
        served = Served(engine, SttSettings(max_batch=MAX_BATCH, max_cost=1e9))
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(served.ask, requests))
        served.stop(wait_s=5)
        arrived = [window.clock.seconds for request in requests for window in Windows(request.audio)]
        shares["ours"].append(_wasted(engine.batches))
        shares["arrival_order"].append(_wasted(_chunks(arrived)))
        shares["whole_windows"].append(1 - sum(arrived) / (LONGEST_S * len(arrived)))
    found = {name: spread(values) for name, values in shares.items()}
    return {
        "what": f"share of a batch's work that is padding, {NOTES} notes of 2 to 60 s, batches of at most {MAX_BATCH}",
        "aim": "less than in the order of arrival",
        **found,
        "reached": found["ours"]["median"] < found["arrival_order"]["median"],
    }


def _wasted(batches: Sequence[Sequence[float]]) -> float:
    done = sum(max(batch) * len(batch) for batch in batches)
    return 1 - sum(map(sum, batches)) / done


def _chunks(lengths: Sequence[float]) -> list[Sequence[float]]:
    return [lengths[start : start + MAX_BATCH] for start in range(0, len(lengths), MAX_BATCH)]
