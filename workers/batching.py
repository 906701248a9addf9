"""Gathers the requests of many threads into batches for one owner: an engine, or the ledger.

An idle owner starts at once with what is there; while it is busy, the next batch gathers by itself. No timer is needed.
This room knows neither jobs nor models.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import uuid4

from voxqueue.errors import DeadlineExceeded, EngineFailed, NotBegun, VoxqueueError
from workers.turns import Turns

log = logging.getLogger(__name__)

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Answer(Generic[ResultT]):
    """A result, or the error that took its place, and how it came about.

    `started_at` and `run_ms` are of the whole call that the request was part of; the clock is `time.monotonic`.
    `batch` is the same for all whose requests shared it, and for no others; it is empty where there was no call.
    """

    result: ResultT | VoxqueueError
    started_at: float
    run_ms: float
    batch_size: int
    batch: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """What one call of the owner had to do: how many requests, their cost, and the longest's cost for each of them."""

    size: int
    cost: float
    padded_cost: float
    run_s: float

    @property
    def padding(self) -> float:
        """The share of the padded cost that is padding, from 0 to 1."""
        return 1 - self.cost / self.padded_cost if self.padded_cost else 0.0


@dataclass(slots=True, eq=False)
class _Waiting(Generic[RequestT, ResultT]):
    request: RequestT
    cost: float
    wanted: Callable[[], bool]
    deadline: float
    alone: bool
    patience_s: float
    turn_at: float
    begun: bool = False
    answered: "Future[Answer[ResultT]]" = field(default_factory=Future)


class Batcher(Generic[RequestT, ResultT]):
    """A thread that owns something which is best asked for many things at once; or a few threads that share it.

    Args:
        name: For the thread and for messages.
        run: Takes a batch, returns one result or error per request in the same order.
        cost: How much room a request takes up; a batch is as expensive as its longest request times its number.
        max_count: Most requests in a batch.
        max_cost: Most cost of a batch, asked each time. A single request may exceed it and then goes alone.
        parallel: How many threads take batches and run them.
        deadline_s: How long a request may take, waiting included.
        linger_s: How long to wait for company before a batch is taken, asked each time. An engine never lingers; the
            ledger does when many jobs are under way, as Postgres does with commit_delay and commit_siblings.
        turns: With whom it takes turns; with nobody by default. Only for one that is not `parallel`.
        on_call: Told of each call before its answers are given. It must neither block nor raise.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[RequestT]], Sequence[ResultT | VoxqueueError]],
        *,
        cost: Callable[[RequestT], float] = lambda _: 1.0,
        max_count: int,
        max_cost: Callable[[], float] = lambda: float("inf"),
        parallel: int = 1,
        deadline_s: float,
        linger_s: Callable[[], float] = lambda: 0.0,
        turns: Turns | None = None,
        on_call: Callable[[Call], None] = lambda _: None,
    ) -> None:
        self.name = name
        self.deadline_s = deadline_s
        self._run = run
        self._cost = cost
        self._max_count = max_count
        self._max_cost = max_cost
        self._linger_s = linger_s
        self._on_call = on_call
        self._turn = turns.join(self._fullness) if turns else None
        self._waiting: list[_Waiting[RequestT, ResultT]] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._least = 0  # requests that the next batch waits for
        self._busy_since: dict[int, float] = {}  # when each thread's call began
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"batcher-{name}-{number}", daemon=True)
            for number in range(parallel)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, request: RequestT) -> Answer[ResultT]:
        """Wait for the answer to one request. Never raises: what went wrong is the answer's result."""
        return self.begin(request)()

    def ask_together(self, requests: Sequence[RequestT], *, deadline_s: float | None = None) -> list[Answer[ResultT]]:
        """Wait for the answers to several requests, which share a batch as far as its bounds allow."""
        return [self._answer(waiting) for waiting in self._enqueue(requests, deadline_s=deadline_s)]

    def begin(
        self,
        request: RequestT,
        *,
        wanted: Callable[[], bool] = lambda: True,
        alone: bool = False,
        patience_s: float = 0.0,
    ) -> Callable[[], Answer[ResultT]]:
        """Ask without waiting; what is returned waits for the answer.

        A request that is no longer `wanted` when its batch is made up is left out. One that wants to be `alone` shares
        its batch with nobody. For `patience_s`, but no more than half of its time, it lets those that come later and
        have less patience go first.
        """
        [waiting] = self._enqueue([request], wanted, alone, patience_s)
        return lambda: self._answer(waiting)

    def hold(self, least: int) -> None:
        """Let the next batch wait until so many requests are there; 0 lets it go."""
        with self._changed:
            self._least = least
            self._changed.notify_all()

    def busy_s(self) -> float:
        """Seconds that the longest call in progress has taken so far; 0 when idle."""
        began = list(self._busy_since.values())
        return time.monotonic() - min(began) if began else 0.0

    @property
    def is_held_up(self) -> bool:
        """Whether another one has the turn, without which this one cannot begin."""
        return self._turn is not None and self._turn.is_held_up

    def stop(self, *, wait_s: float | None = None) -> None:
        """Answer what waits with `NotBegun` and let the call in progress end, for which this waits `wait_s`."""
        with self._changed:
            self._stopping = True
            left, self._waiting = self._waiting, []
            self._changed.notify_all()
        if self._turn:
            self._turn.leave()
        for waiting in left:
            _give(waiting, _unanswered(NotBegun("The worker is shutting down.")))
        if wait_s is not None:  # one deadline for all of them
            until = time.monotonic() + wait_s
            for thread in self._threads:
                thread.join(timeout=max(0.0, until - time.monotonic()))

    def _enqueue(
        self,
        requests: Sequence[RequestT],
        wanted: Callable[[], bool] = lambda: True,
        alone: bool = False,
        patience_s: float = 0.0,
        deadline_s: float | None = None,
    ) -> list[_Waiting[RequestT, ResultT]]:
        now = time.monotonic()
        deadline = now + (self.deadline_s if deadline_s is None else deadline_s)
        turn_at = min(now + patience_s, (now + deadline) / 2)
        asked: list[_Waiting[RequestT, ResultT]] = [
            _Waiting(request, self._cost(request), wanted, deadline, alone, patience_s, turn_at) for request in requests
        ]
        with self._changed:
            if not self._stopping:
                self._waiting.extend(asked)
                self._changed.notify(len(asked))
                return asked
        for waiting in asked:
            _give(waiting, _unanswered(NotBegun("The worker is shutting down.")))
        return asked

    def _answer(self, waiting: _Waiting[RequestT, ResultT]) -> Answer[ResultT]:
        try:
            return waiting.answered.result(timeout=max(0.0, waiting.deadline - time.monotonic()))
        except FutureTimeout:
            waiting.answered.cancel()
            if not waiting.begun:
                return _unanswered(NotBegun(f"{self.name} did not come to this within {self.deadline_s:g} s."))
            return _unanswered(DeadlineExceeded(f"{self.name} gave no answer within {self.deadline_s:g} s."))

    def _serve(self, number: int) -> None:
        while self._serve_one(number):
            pass

    def _serve_one(self, number: int) -> bool:
        """Take a batch and answer it. By itself, so that an idle thread holds on to nothing. False when stopping."""
        batch = self._next()
        if batch is None:
            return False
        started = self._busy_since[number] = time.monotonic()
        results = self._answers([waiting.request for waiting in batch])
        del self._busy_since[number]
        self._end_turn()
        run_ms = (time.monotonic() - started) * 1000
        name = uuid4().hex
        costs = [waiting.cost for waiting in batch]
        self._on_call(Call(len(batch), sum(costs), max(costs) * len(batch), run_ms / 1000))
        for waiting, result in zip(batch, results, strict=True):
            _give(waiting, Answer(result, started, run_ms, len(batch), name))
        return True

    def _answers(self, requests: Sequence[RequestT]) -> Sequence[ResultT | VoxqueueError]:
        """Run the batch; the owner's thread must outlive whatever happens in there."""
        try:
            results = self._run(requests)
        except BaseException as error:  # the panics of a runtime written in Rust are no Exceptions
            log.exception("%s failed on a batch of %d", self.name, len(requests))
            return [EngineFailed(f"{self.name} failed: {type(error).__name__}: {error}"[:500]) for _ in requests]
        if len(results) != len(requests):
            detail = f"{self.name} answered {len(requests)} requests with {len(results)} results."
            return [EngineFailed(detail) for _ in requests]
        return results

    def _next(self) -> list[_Waiting[RequestT, ResultT]] | None:
        """Wait for requests and take the next batch from them; None when stopping."""
        while True:
            with self._changed:
                while len(self._waiting) < max(1, self._least) and not self._stopping:
                    self._changed.wait()
                self._least = 0
                if self._stopping:
                    return None
            if linger_s := self._linger_s():
                time.sleep(linger_s)
            if self._turn and not self._turn.take():
                continue
            with self._changed:
                if batch := self._take():
                    return batch
            self._end_turn()

    def _end_turn(self) -> None:
        if self._turn:
            self._turn.give_back()

    def _fullness(self) -> float:
        """How full a batch would be that was taken now."""
        waiting = len(self._waiting)
        return waiting / self._max_count if waiting >= self._least else 0.0

    def _take(self) -> list[_Waiting[RequestT, ResultT]]:
        """The request whose turn it is, and with it those that waste the least: the nearest in length, shortest first.

        Those with more patience only fill up what is left.
        """
        now = time.monotonic()
        kept = [one for one in self._waiting if now < one.deadline and not one.answered.cancelled() and one.wanted()]
        for dropped in set(self._waiting).difference(kept):
            _give(dropped, _unanswered(NotBegun("The request is late, or no longer wanted.")))
        self._waiting = kept
        if not kept:
            return []
        first, max_cost = min(kept, key=lambda one: one.turn_at), self._max_cost()
        company = [first] if first.alone else [one for one in kept if not one.alone]
        company.sort(key=lambda one: (one.patience_s > first.patience_s, abs(one.cost - first.cost)))  # stable
        batch: list[_Waiting[RequestT, ResultT]] = []
        longest = 0.0
        for one in company:
            padded = max(longest, one.cost) * (len(batch) + 1)
            if batch and (len(batch) >= self._max_count or padded > max_cost):
                break
            batch.append(one)
            one.begun = True
            longest = max(longest, one.cost)
        taken = set(batch)
        self._waiting = [one for one in kept if one not in taken]
        return sorted(batch, key=lambda one: one.cost)


def _unanswered(error: VoxqueueError) -> Answer[ResultT]:
    return Answer(error, time.monotonic(), 0.0, 0)


def _give(waiting: _Waiting[RequestT, ResultT], answer: Answer[ResultT]) -> None:
    """Answer, unless the one who asked has gone."""
    if waiting.answered.set_running_or_notify_cancel():
        waiting.answered.set_result(answer)
