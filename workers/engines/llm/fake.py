"""A fake of the language model: its reply comes from a digest of the text and the instructions.

It fails on demand by a marker in either, see `workers.engines.fakes`. Markers for the stage after it (``!fail@tts``) go
into the reply, so that a whole job can be made to fail at its end.
"""

from collections.abc import Sequence

from voxqueue.errors import EngineRefused, VoxqueueError
from voxqueue.settings import Settings
from voxqueue.stages import LlmRequest, LlmResult, Stage
from workers.engines.base import WholeLlmEngine
from workers.engines.fakes import MARKER, STAND_IN, FakeModel, digest, find_order


class FakeLlmEngine(WholeLlmEngine):
    """Deterministic: the same text and instructions give the same reply."""

    name = "fake"
    stand_in = STAND_IN

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._model = FakeModel(settings.fake)

    def load(self) -> None:
        self._model.load()
        self.model = "fake"

    def run(self, batch: Sequence[LlmRequest]) -> Sequence[LlmResult | VoxqueueError]:
        fates = self._model.work([find_order(self.stage, request.text, request.instructions) for request in batch])
        return [fate or _reply(request) for request, fate in zip(batch, fates, strict=True)]


def _reply(request: LlmRequest) -> LlmResult | VoxqueueError:
    if request.schema is not None:
        return EngineRefused("A fake cannot follow a schema.")
    read = f"{request.text} {request.instructions or ''}"
    handed_on = [marker[0] for marker in MARKER.finditer(read) if marker[3] == Stage.TTS]
    return LlmResult(text=" ".join([f"Fake reply {digest(request.text, request.instructions)}.", *handed_on]))
