"""What every engine is: an adapter to one model runtime.

The base owns the hard part, so that an adapter writes `load` and `run` only: order and number of results, one bad
request failing alone, halving a batch that does not fit into memory. It knows stages and plain values, nothing of jobs,
queues or storage.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

import numpy as np

from voxqueue.errors import EngineFailed, EngineOutOfMemory, VoxqueueError
from voxqueue.settings import Settings
from voxqueue.stages import (
    SAMPLE_RATE,
    LlmRequest,
    LlmResult,
    Stage,
    SttRequest,
    SttResult,
    TtsRequest,
    TtsResult,
)

log = logging.getLogger(__name__)

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


class Engine(ABC, Generic[RequestT, ResultT]):
    """An adapter to one model runtime. One thread at a time calls it.

    Attributes:
        name: The word in the settings.
        model: What it runs, as a person would name it. Known after `load`.
        device: Where it runs: ``cpu``, ``cuda:0``, ``remote``.
        stand_in: Why nobody should mistake this engine for the real thing; None where it is one.
        max_batch: Most requests it can take in one call; None leaves that to the settings.
    """

    stage: ClassVar[Stage]
    name: ClassVar[str]
    stand_in: ClassVar[str | None] = None
    model: str = ""
    device: str = "cpu"
    max_batch: int | None = None

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def load(self) -> None:
        """Bring the model into memory.

        Raises:
            EngineUnusable: It cannot run here; the detail says how to mend that.
        """

    @abstractmethod
    def run(self, batch: Sequence[RequestT]) -> Sequence[ResultT | VoxqueueError]:
        """One model call. Return one result or error per request, in the same order.

        A request that is wrong in itself gets its error as its value. Raising means that the whole call failed; the
        base then finds out which request was the cause.
        """

    @abstractmethod
    def cost(self, request: RequestT) -> float:
        """How much of a batch the request takes up: seconds of audio or characters of text."""

    @abstractmethod
    def warmup_request(self, longest: bool) -> RequestT:
        """A request for warming: a short one, or one as long as they come."""

    def close(self) -> None:
        """Give back memory and handles. The engine can be loaded again afterwards."""

    def call(self, batch: Sequence[RequestT]) -> list[ResultT | VoxqueueError]:
        """Run a batch of any size and return one result or error per request, in the same order. Never raises."""
        try:
            answers = list(self.run(batch))
        except VoxqueueError as error:
            return self._split(batch, error)
        except MemoryError:
            return self._split(batch, EngineOutOfMemory(f"{self.name} ran out of memory on this request alone."))
        except BaseException as error:  # the panics of a runtime written in Rust are no Exceptions
            if _is_out_of_memory(error):
                return self._split(batch, EngineOutOfMemory(f"{self.name} ran out of memory on this request alone."))
            log.exception("%s failed on a batch of %d", self.name, len(batch))
            return self._split(batch, EngineFailed(f"{self.name} failed: {type(error).__name__}: {error}"[:500]))
        if len(answers) != len(batch):
            return self._split(
                batch, EngineFailed(f"{self.name} answered {len(batch)} requests with {len(answers)} results.")
            )
        return answers

    def _split(self, batch: Sequence[RequestT], error: VoxqueueError) -> list[ResultT | VoxqueueError]:
        """Halve a batch that failed as a whole, until what failed stands alone."""
        if len(batch) <= 1:
            return [error for _ in batch]
        half = len(batch) // 2
        return self.call(batch[:half]) + self.call(batch[half:])


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether a runtime says that the device's memory is full (torch by type, CTranslate2 by its words only)."""
    return type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error).lower()


class SttEngine(Engine[SttRequest, SttResult]):
    """Speech to text. Costs are seconds of audio."""

    stage = Stage.STT

    def cost(self, request: SttRequest) -> float:
        return request.seconds

    def warmup_request(self, longest: bool) -> SttRequest:
        seconds = 30 if longest else 1
        noise = np.random.default_rng(0).normal(0, 0.01, seconds * SAMPLE_RATE)
        return SttRequest(samples=noise.astype(np.float32), language="en")


class LlmEngine(Engine[LlmRequest, LlmResult]):
    """The language model. Costs are characters of text."""

    stage = Stage.LLM

    def cost(self, request: LlmRequest) -> float:
        return len(request.text) + len(request.instructions or "")

    def warmup_request(self, longest: bool) -> LlmRequest:
        return LlmRequest(text="Please say something short. " * (20 if longest else 1), language="en")


class TtsEngine(Engine[TtsRequest, TtsResult]):
    """Text to speech. Costs are characters of text."""

    stage = Stage.TTS

    def cost(self, request: TtsRequest) -> float:
        return len(request.text)

    def warmup_request(self, longest: bool) -> TtsRequest:
        return TtsRequest(text="This is how I sound. " * (20 if longest else 1), language="en")
