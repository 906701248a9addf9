"""A fake of text to speech: a tone as long as the text, at a pitch from its digest.

It fails on demand by a marker in the text, see `workers.engines.fakes`.
"""

from collections.abc import Sequence

import numpy as np

from voxqueue.errors import EngineRefused, VoxqueueError
from voxqueue.settings import Settings
from voxqueue.stages import SAMPLE_RATE, TtsRequest, TtsResult
from workers.engines.base import WholeTtsEngine
from workers.engines.fakes import STAND_IN, FakeModel, digest, find_order

_SECONDS_PER_CHARACTER = 0.05
_MOST_SECONDS = 30.0


class FakeTtsEngine(WholeTtsEngine):
    """Deterministic: the same text, voice and language give the same tone, of 0.05 s a character and 30 s at most."""

    name = "fake"
    stand_in = STAND_IN

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._model = FakeModel(settings.fake)

    def load(self) -> None:
        self._model.load()
        self.model = "fake"

    def run(self, batch: Sequence[TtsRequest]) -> Sequence[TtsResult | VoxqueueError]:
        fates = self._model.work([find_order(self.stage, request.text) for request in batch])
        return [fate or _tone(request) for request, fate in zip(batch, fates, strict=True)]


def _tone(request: TtsRequest) -> TtsResult | VoxqueueError:
    if not request.text.strip():
        return EngineRefused("There is nothing in this text that can be spoken.")
    seconds = min(len(request.text) * _SECONDS_PER_CHARACTER, _MOST_SECONDS)
    hertz = 200 + int(digest(request.text, request.voice, request.language), 16) % 600
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return TtsResult(samples=(np.sin(2 * np.pi * hertz * time) / 3).astype(np.float32), sample_rate=SAMPLE_RATE)
