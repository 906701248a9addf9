"""What every engine is: an adapter to one model runtime.

A request is answered in its job's own thread: there it is cut into pieces, the pieces go through model calls together
with those of other requests, and what comes back is put together. The base owns the hard part, so that most adapters
write `load` and `run` only: order and number of results, one bad piece failing alone, halving a batch that does not fit
into memory. It knows stages and plain values, nothing of jobs, queues or storage.
"""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

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
PieceT = TypeVar("PieceT")
OutputT = TypeVar("OutputT")
OutputT_co = TypeVar("OutputT_co", covariant=True)


class Ask(Protocol[PieceT, OutputT_co]):
    """How an engine's `answer` gets its pieces through model calls."""

    def __call__(self, pieces: Iterable[PieceT]) -> Iterator[OutputT_co]:
        """Yield the output of each piece, in order. Pieces are taken from the iterable as the model comes to them.

        Raises:
            VoxqueueError: What went wrong with the first piece that failed.
        """

    def prepared(self, pieces: Iterable[PieceT]) -> Iterator[PieceT]:
        """The same pieces, for those that take a processor some time to cut: no more are cut at once than it has cores.

        Once only: what is prepared already must not be prepared within another.
        """

    def progress(self, share: float) -> None:
        """Say how much of the request is done, from 0 to 1, where it takes long enough for anybody to ask."""

    def degrade(self, how: str) -> None:
        """Note on the job that it gets less than was asked for."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice that a text-to-speech engine has. `language` is None where it speaks several."""

    name: str
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Called(Generic[OutputT]):
    """What a model call made of one piece. `degradations` are sentences for the job."""

    output: OutputT
    degradations: tuple[str, ...] = ()


class Engine(ABC, Generic[RequestT, ResultT, PieceT, OutputT]):
    """An adapter to one model runtime.

    Attributes:
        name: The word in the settings.
        model: What it runs, as a person would name it. Known after `load`.
        device: Where it runs: ``cpu``, ``cuda:0``, ``remote``.
        dtype: The precision it computes in, such as ``float16``; None where that means nothing.
        stand_in: Why nobody should mistake this engine for the real thing; None where it is one.
        max_batch: Most pieces it can take in one call; None leaves that to the settings.
        parallel: How many threads may call it at once. More than one only where something else does the batching.
        ignores: Which wishes of a request, by the names of its fields, it cannot heed; the job then says so.
        takes_all_cores: Whether a model call, where it runs on a CPU, keeps the whole of it busy.
        ceiling: Most cost of a batch that its memory holds, as found out by running out of it.
        on_progress: What `load` tells of its longer steps: what is being done, and which share of it, from 0 to 1.
    """

    stage: ClassVar[Stage]
    name: ClassVar[str]
    stand_in: ClassVar[str | None] = None
    ignores: ClassVar[tuple[str, ...]] = ()
    takes_all_cores: ClassVar[bool] = False
    model: str = ""
    device: str = "cpu"
    dtype: str | None = None
    max_batch: int | None = None
    parallel: int = 1
    ceiling: float = float("inf")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.on_progress: Callable[[str, float], None] = lambda what, share: None

    @property
    def trouble(self) -> str | None:
        """Why it cannot work right now, although it was warm; None while it can. Any thread may ask."""
        return None

    @abstractmethod
    def load(self) -> None:
        """Bring the model into memory.

        Raises:
            EngineUnusable: It cannot run here; the detail says how to mend that.
        """

    @abstractmethod
    def run(self, batch: Sequence[PieceT]) -> Sequence[OutputT | VoxqueueError]:
        """One model call. Return one output or error per piece, in the same order.

        A piece that is wrong in itself gets its error as its value. Raising means that the whole call failed; the base
        then finds out which piece was the cause.
        """

    @abstractmethod
    def answer(self, request: RequestT, ask: Ask[PieceT, OutputT]) -> ResultT:
        """Answer one request, in its own thread, beside others: cut it into pieces, ask, put together.

        Raises:
            VoxqueueError: Why it cannot be answered.
        """

    @abstractmethod
    def cost(self, piece: PieceT) -> float:
        """How much of a batch the piece takes up: seconds of audio or characters of text."""

    @abstractmethod
    def warmup_request(self, longest: bool) -> RequestT:
        """A request for warming: a short one, or one as long as a single piece comes."""

    def ignored(self, request: RequestT) -> list[str]:
        """The wishes of a request that it cannot heed. A blank text is no wish."""
        wishes = {name: getattr(request, name) for name in self.ignores}
        return [name for name, wish in wishes.items() if (wish.strip() if isinstance(wish, str) else wish)]

    def close(self) -> None:
        """Give back memory and handles. The engine can be loaded again afterwards."""

    def call(self, batch: Sequence[PieceT]) -> list[Called[OutputT] | VoxqueueError]:
        """Run a batch of any size and return one output or error per piece, in the same order. Never raises."""
        answers: list[OutputT | VoxqueueError] = []
        failure: VoxqueueError | None = None
        try:
            answers = list(self.run(batch))
        except BaseException as error:  # the panics of a runtime written in Rust are no Exceptions
            failure = self._failure(error, len(batch))
        # From here on nothing holds the error's frames any more, whose tensors would fill the memory.
        if failure is None and len(answers) != len(batch):
            failure = EngineFailed(f"{self.name} answered {len(batch)} requests with {len(answers)} results.")
        if isinstance(failure, EngineOutOfMemory):
            return self._shrink(batch, failure)
        if failure is not None:
            return self._split(batch, failure)
        return [answer if isinstance(answer, VoxqueueError) else Called(answer) for answer in answers]

    def _failure(self, error: BaseException, size: int) -> VoxqueueError:
        """What a failed call means for a piece that stands alone."""
        if isinstance(error, VoxqueueError):
            return error.with_traceback(None)
        if is_out_of_memory(error):
            return EngineOutOfMemory(f"{self.name} ran out of memory on this request alone.")
        log.error("%s failed on a batch of %d", self.name, size, exc_info=error)
        return EngineFailed(f"{self.name} failed: {type(error).__name__}: {error}"[:500])

    def _split(self, batch: Sequence[PieceT], error: VoxqueueError) -> list[Called[OutputT] | VoxqueueError]:
        """Halve a batch that failed as a whole, until what failed stands alone."""
        if len(batch) <= 1:
            return [error for _ in batch]
        half = len(batch) // 2
        return self.call(batch[:half]) + self.call(batch[half:])

    def _shrink(self, batch: Sequence[PieceT], error: VoxqueueError) -> list[Called[OutputT] | VoxqueueError]:
        """Halve a batch that the memory does not hold, and make none as large again."""
        self.free_memory()
        if len(batch) > 1:
            padded = max(map(self.cost, batch)) * len(batch)
            self.ceiling = min(self.ceiling, padded / 2)
            log.warning("%s ran out of memory; no batch may cost more than %.0f from now on", self.name, self.ceiling)
        how = f"{self.name} ran out of memory in a batch of {len(batch)} and took a smaller one"
        return [
            answer if isinstance(answer, VoxqueueError) else replace(answer, degradations=(how,))
            for answer in self._split(batch, error)
        ]

    def free_memory(self) -> None:
        """Give cached memory back to the device, after running out of it."""


AnyEngine: TypeAlias = Engine[Any, Any, Any, Any]

_FULL = re.compile("out of memory|not enough memory|can't allocate memory|alloc_failed", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a runtime says that the memory is full (torch by type, on a CPU and in CTranslate2 by its words only)."""
    is_full = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return is_full or _FULL.search(str(error)) is not None


class SttEngine(Engine[SttRequest, SttResult, PieceT, OutputT]):
    """Speech to text. Costs are seconds of audio."""

    stage = Stage.STT

    def warmup_request(self, longest: bool) -> SttRequest:
        seconds = 30 if longest else 1
        noise = np.random.default_rng(0).normal(0, 0.01, seconds * SAMPLE_RATE)
        return SttRequest(audio=[noise.astype(np.float32)], language="en")


class LlmEngine(Engine[LlmRequest, LlmResult, PieceT, OutputT]):
    """The language model. Costs are characters of text."""

    stage = Stage.LLM

    def warmup_request(self, longest: bool) -> LlmRequest:
        return LlmRequest(text="Please say something short. " * (20 if longest else 1), language="en")


class TtsEngine(Engine[TtsRequest, TtsResult, PieceT, OutputT]):
    """Text to speech. Costs are characters of text."""

    stage = Stage.TTS

    def voices(self) -> Sequence[Voice]:
        """The voices it has, once loaded. Only these are let through to it; without any, every name is."""
        return ()

    def variants(self) -> Sequence[str]:
        """What may follow the name of a voice after a plus sign, once loaded."""
        return ()

    def warmup_request(self, longest: bool) -> TtsRequest:
        return TtsRequest(text="This is how I sound. " * (20 if longest else 1), language="en")


class WholeSttEngine(SttEngine[SttRequest, SttResult]):
    """Speech to text by a runtime that takes a note as it is."""

    def answer(self, request: SttRequest, ask: Ask[SttRequest, SttResult]) -> SttResult:
        [result] = ask([replace(request, audio=[request.samples])])
        return result

    def cost(self, piece: SttRequest) -> float:
        return piece.seconds


class WholeLlmEngine(LlmEngine[LlmRequest, LlmResult]):
    """A language model whose runtime takes a request as it is."""

    def answer(self, request: LlmRequest, ask: Ask[LlmRequest, LlmResult]) -> LlmResult:
        [result] = ask([request])
        return result

    def cost(self, piece: LlmRequest) -> float:
        return len(piece.text) + len(piece.instructions or "")


class WholeTtsEngine(TtsEngine[TtsRequest, TtsResult]):
    """Text to speech by a runtime that takes a text as it is."""

    def answer(self, request: TtsRequest, ask: Ask[TtsRequest, TtsResult]) -> TtsResult:
        [result] = ask([request])
        return result

    def cost(self, piece: TtsRequest) -> float:
        return len(piece.text)
