"""A stage as a worker serves it: a warm engine behind its batcher, asked from many jobs' threads at once.

This is where a request's pieces meet the batcher, and where what their model calls had in common is summed up. It knows
neither jobs nor models.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from voxqueue import machine
from voxqueue.errors import EngineUnusable, NotBegun, VoxqueueError
from voxqueue.metrics import engines as metrics
from voxqueue.settings import StageSettings
from workers.batching import Answer, Batcher, Call
from workers.engines.base import AnyEngine, Called
from workers.turns import Turns

log = logging.getLogger(__name__)

_MOST_NAMED = 32  # batches of one request: a long note takes part in many


@dataclass(frozen=True, slots=True)
class Answered:
    """A stage's result and how it came about.

    `started_at` (of `time.monotonic`) and `run_ms` span the first model call to the last, `batch_size` is that of the
    largest; it is 0 where no model was needed. `batches` names the first of them, see `Answer.batch`.
    """

    result: Any
    started_at: float
    run_ms: float
    batch_size: int
    degradations: tuple[str, ...]
    batches: tuple[str, ...] = ()


class Served:
    """A stage that is warm here. Many threads ask.

    Engines that each take all cores of a CPU for a batch take `turns`: side by side, both would only be slower.

    Attributes:
        warmup_s: How long it took to warm up.
        answered_at: When it last gave a result, of `time.monotonic`.
    """

    def __init__(self, engine: AnyEngine, settings: StageSettings, turns: Turns | None = None) -> None:
        self.engine = engine
        self.max_batch = min(settings.max_batch, engine.max_batch or settings.max_batch)
        self.batcher: Batcher[Any, Called[Any]] = Batcher(
            engine.name,
            engine.call,
            cost=engine.cost,
            max_count=self.max_batch,
            max_cost=lambda: min(settings.max_cost, engine.ceiling),
            parallel=engine.parallel,
            deadline_s=settings.deadline_s,
            turns=turns if engine.takes_all_cores and engine.device == "cpu" else None,
            on_call=self._measure,
        )
        # Cutting up a note takes a core to itself; more at once would only slow down whoever prepares the next batch.
        self.cores = threading.BoundedSemaphore(machine.cores())
        self.warmup_s = 0.0
        self.answered_at = self._idle_since = time.monotonic()
        self._under_way = 0
        self._rehearsing = False
        self._lock = threading.Lock()

    @property
    def idle_s(self) -> float:
        """Seconds since the last request ended; 0 while there is one."""
        with self._lock:
            return 0.0 if self._under_way else time.monotonic() - self._idle_since

    @property
    def pieces_at_once(self) -> int:
        """How many pieces each request may have waiting: two batches of all requests together.

        More would fill the memory, and make short requests wait for the whole of a long one.
        """
        return max(1, 2 * self.max_batch // max(1, self._under_way))

    def ask(
        self,
        request: Any,
        *,
        wanted: Callable[[], bool] = lambda: True,
        alone: bool = False,
        patience_s: float = 0.0,
        on_progress: Callable[[float], None] = lambda _: None,
    ) -> Answered:
        """Have one request answered, its pieces side by side with those of others.

        Args:
            request: What the stage takes.
            wanted: Whether anybody still waits for it; pieces that are not wanted are left out of batches.
            alone: Share model calls with nobody.
            patience_s: How long its pieces let those go first that come later and have less patience.
            on_progress: Told how much is done, from 0 to 1.

        Raises:
            VoxqueueError: Why there is no answer.
        """
        asking = _Asking(self, wanted, alone, patience_s, on_progress)
        for wish in self.engine.ignored(request):
            asking.degrade(f"{self.engine.name} ignores {wish}")
        with self._lock:
            self._under_way += 1
        try:
            result = self.engine.answer(request, asking)
        finally:
            asking.is_over = True
            with self._lock:
                self._under_way -= 1
                self._idle_since = time.monotonic()
        self.answered_at = self._idle_since
        return asking.summed_up(result)

    def infer_together(self, requests: Sequence[Any]) -> None:
        """Answer requests that are nobody's jobs, in model calls as large as they make them. These are not measured.

        Raises:
            EngineUnusable: One of them had no result, or needed no model.
        """
        self._rehearsing = True
        try:
            self._infer_together(requests)
        finally:
            self._rehearsing = False

    def prove(self) -> None:
        """Have the shortest of requests answered, which is nobody's, unless somebody's comes before it has begun.

        Raises:
            VoxqueueError: Why there is no answer.
        """
        self._rehearsing = True
        try:
            request = self.engine.warmup_request(longest=False)
            self.ask(request, alone=True, wanted=lambda: self._under_way == 1)
        except NotBegun:
            log.debug("%s has other things to do than to prove itself", self.engine.name)
        finally:
            self._rehearsing = False

    def _infer_together(self, requests: Sequence[Any]) -> None:
        self.batcher.hold(len(requests))
        with ThreadPoolExecutor(len(requests)) as threads:
            asked = [threads.submit(self.ask, request) for request in requests]
            for one in asked:
                one.add_done_callback(lambda _: self.batcher.hold(0))  # whoever ends early brings no more pieces
            for one in asked:
                try:
                    answered = one.result()
                except VoxqueueError as error:
                    raise EngineUnusable(f"{self.engine.name} failed while warming up: {error.detail}") from error
                if not answered.batch_size:
                    raise EngineUnusable(f"{self.engine.name} was not warmed: nothing of the sample reached its model.")

    def stop(self, *, wait_s: float | None = None) -> None:
        """Begin no more model calls; see `Batcher.stop`."""
        self.batcher.stop(wait_s=wait_s)

    def _measure(self, call: Call) -> None:
        if not self._rehearsing:
            stage, name = self.engine.stage, self.engine.name
            metrics.called(stage, name, size=call.size, cost=call.cost, padding=call.padding, run_s=call.run_s)


class _Asking:
    """One request on its way; what `Ask` promises to the engine."""

    def __init__(
        self,
        served: Served,
        wanted: Callable[[], bool],
        alone: bool,
        patience_s: float,
        on_progress: Callable[[float], None],
    ) -> None:
        self._served = served
        self._wanted = wanted
        self._alone = alone
        self._patience_s = patience_s
        self._asked_at = time.monotonic()
        self._began = float("inf")
        self._ended = 0.0
        self._largest = 0
        self._batches: dict[str, None] = {}
        self._degradations: dict[str, None] = {}
        self.progress = on_progress
        self.is_over = False

    def __call__(self, pieces: Iterable[Any]) -> Iterator[Any]:
        flying: deque[Callable[[], Answer[Any]]] = deque()
        for piece in pieces:
            flying.append(self._begin(piece))
            while len(flying) >= (1 if self._alone else self._served.pieces_at_once):
                yield self._landed(flying.popleft())
        while flying:
            yield self._landed(flying.popleft())

    def _begin(self, piece: Any) -> Callable[[], Answer[Any]]:
        return self._served.batcher.begin(piece, wanted=self._is_wanted, alone=self._alone, patience_s=self._patience_s)

    def prepared(self, pieces: Iterable[Any]) -> Iterator[Any]:
        source = iter(pieces)
        while True:
            with self._served.cores:
                try:
                    piece = next(source)
                except StopIteration:
                    return
            yield piece

    def degrade(self, how: str) -> None:
        self._degradations[how] = None

    def summed_up(self, result: Any) -> Answered:
        began, ended = (self._began, self._ended) if self._largest else (self._asked_at, time.monotonic())
        return Answered(
            result=result,
            started_at=began,
            run_ms=(ended - began) * 1000,
            batch_size=self._largest,
            degradations=tuple(self._degradations),
            batches=tuple(self._batches),
        )

    def _is_wanted(self) -> bool:
        return not self.is_over and self._wanted()

    def _landed(self, waiting: Callable[[], Answer[Any]]) -> Any:
        answer = waiting()
        called = answer.result
        if isinstance(called, VoxqueueError):
            try:
                raise called
            finally:
                del called, answer, waiting  # else the error would hold its own frame, and with it everything, for long
        self._began = min(self._began, answer.started_at)
        self._ended = max(self._ended, answer.started_at + answer.run_ms / 1000)
        self._largest = max(self._largest, answer.batch_size)
        if len(self._batches) < _MOST_NAMED:
            self._batches[answer.batch] = None
        for how in called.degradations:
            self.degrade(how)
        return called.output
