"""A fake of speech to text: its words come from a digest of the samples, and near silence has none.

It fails on demand by the request's language: the codes in `workers.engines.fakes.STT_ORDERS`.
"""

from collections.abc import Sequence

import numpy as np

from voxqueue.errors import VoxqueueError
from voxqueue.settings import Settings
from voxqueue.stages import SAMPLE_RATE, Segment, SttRequest, SttResult, Word
from workers.engines.base import WholeSttEngine
from workers.engines.fakes import STAND_IN, STT_ORDERS, FakeModel, Order, digest, make_order

_SEGMENT = 5 * SAMPLE_RATE
_SILENT = 1e-3


class FakeSttEngine(WholeSttEngine):
    """Deterministic: the same samples give the same words."""

    name = "fake"
    ignores = ("prompt", "hotwords")
    stand_in = STAND_IN

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._model = FakeModel(settings.fake)

    def load(self) -> None:
        self._model.load()
        self.model = "fake"

    def run(self, batch: Sequence[SttRequest]) -> Sequence[SttResult | VoxqueueError]:
        fates = self._model.work([_order(request) for request in batch])
        return [fate or _transcribe(request) for request, fate in zip(batch, fates, strict=True)]


def _order(request: SttRequest) -> Order | None:
    action = STT_ORDERS.get(request.language or "")
    return make_order(action, digest(request.samples.tobytes())) if action else None


def _transcribe(request: SttRequest) -> SttResult:
    segments = []
    for start in range(0, len(request.samples), _SEGMENT):
        part = request.samples[start : start + _SEGMENT]
        if np.abs(part).max() < _SILENT:
            continue
        seconds = len(part) / SAMPLE_RATE
        text = f"fake words {digest(part.tobytes())} of {seconds:.2f} seconds"
        begin = start / SAMPLE_RATE
        words = _words(text, begin, seconds) if request.word_timestamps else ()
        segments.append(Segment(start=begin, end=begin + seconds, text=text, words=words))
    return SttResult(
        text=" ".join(segment.text for segment in segments),
        language=request.language or "en",
        audio_seconds=request.seconds,
        segments=tuple(segments),
    )


def _words(text: str, begin: float, seconds: float) -> tuple[Word, ...]:
    """The words of a text, each as long as the others."""
    spoken = text.split()
    length = seconds / len(spoken)
    return tuple(Word(begin + n * length, begin + (n + 1) * length, word, 1.0) for n, word in enumerate(spoken))
