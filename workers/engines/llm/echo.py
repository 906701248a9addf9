"""A reply without a language model: a template that repeats what was said, for trying the way of a note."""

from collections.abc import Sequence

from voxqueue.errors import EngineRefused, VoxqueueError
from voxqueue.stages import LlmRequest, LlmResult
from workers.engines.base import Ask, WholeLlmEngine


class EchoEngine(WholeLlmEngine):
    """Repeats the text on one line. It follows no instructions and answers in English whatever the language."""

    name = "echo"
    ignores = ("instructions",)
    stand_in = "echo is a template without a language model: it repeats what it was told and ignores instructions."

    def load(self) -> None:
        self.model = "template"

    def answer(self, request: LlmRequest, ask: Ask[LlmRequest, LlmResult]) -> LlmResult:
        if request.language not in (None, "en"):
            ask.degrade(f"echo answers in English, not in {request.language!r}")
        return super().answer(request, ask)

    def run(self, batch: Sequence[LlmRequest]) -> Sequence[LlmResult | VoxqueueError]:
        return [_reply(request) for request in batch]


def _reply(request: LlmRequest) -> LlmResult | VoxqueueError:
    if request.schema is not None:
        return EngineRefused(
            "echo has no language model and cannot follow a schema. Send the text without `reply_schema`. An operator "
            "may name a language model in VOXQUEUE_LLM_ENGINES."
        )
    said = " ".join(request.text.split())
    return LlmResult(text=f"You said: {said}" if said else "I did not hear any words.")
