"""The batcher's promises: no timer, bounded batches, each in its turn, one answer per request whatever happens."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from voxqueue.errors import DeadlineExceeded, EngineFailed, NotBegun, VoxqueueError
from workers.batching import Batcher

pytestmark = pytest.mark.unit


class Gate:
    """An owner whose first call waits until it is opened, so that a test decides what gathers meanwhile."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, batch: Sequence[float]) -> Sequence[float | VoxqueueError]:
        self.batches.append(list(batch))
        self.entered.set()
        assert self.opened.wait(10)
        return [number * 2 for number in batch]


def gathered(gate: Gate, numbers: Sequence[float], *, max_count: int = 16, max_cost: float = float("inf")) -> Gate:
    """Ask for one number, then for all the others while that call is in progress; each costs its own value."""
    batcher = Batcher(
        "test", gate, cost=lambda number: number, max_count=max_count, max_cost=lambda: max_cost, deadline_s=10
    )
    first = batcher.begin(1.0)
    assert gate.entered.wait(10)
    asked = [batcher.begin(number) for number in numbers]
    gate.opened.set()
    assert first().result == 2.0
    assert [answer().result for answer in asked] == [number * 2 for number in numbers]
    batcher.stop(wait_s=5)
    return gate


def test_an_idle_owner_starts_at_once_and_a_busy_one_gathers_the_next_batch() -> None:
    gate = gathered(Gate(), [5, 3, 4])
    assert gate.batches == [[1.0], [3, 4, 5]], "what came in during the first call is one batch, shortest first"


def test_a_batch_holds_no_more_than_its_count() -> None:
    gate = gathered(Gate(), [2.0] * 7, max_count=3)
    assert [len(batch) for batch in gate.batches] == [1, 3, 3, 1]


def test_a_batch_costs_no_more_than_its_bound_with_padding_counted() -> None:
    gate = gathered(Gate(), [10, 10, 10, 10, 10], max_cost=20)
    assert [len(batch) for batch in gate.batches] == [1, 2, 2, 1]


def test_a_request_above_the_bound_goes_alone_instead_of_never() -> None:
    gate = gathered(Gate(), [50, 2, 2], max_cost=20)
    assert gate.batches == [[1.0], [50], [2, 2]]


def test_the_oldest_request_goes_first_with_those_nearest_in_length() -> None:
    gate = gathered(Gate(), [9, 1, 8, 2, 10], max_count=3)
    assert gate.batches == [[1.0], [8, 9, 10], [1, 2]]


def taken(requests: Sequence[tuple[float, float]], *, max_count: int) -> list[list[float]]:
    """The batches after the first one, of requests that each come with their patience in seconds."""
    gate = Gate()
    batcher = Batcher("test", gate, cost=lambda number: number, max_count=max_count, deadline_s=100)
    first = batcher.begin(1.0)
    assert gate.entered.wait(10)
    asked = [batcher.begin(number, patience_s=patience_s) for number, patience_s in requests]
    gate.opened.set()
    for answer in (first, *asked):
        assert not isinstance(answer().result, VoxqueueError)
    batcher.stop(wait_s=5)
    return gate.batches[1:]


def test_who_has_less_patience_goes_first_although_it_came_later() -> None:
    """Else an urgent job would wait behind all the jobs that its worker had claimed before it."""
    assert taken([(5, 30), (6, 30), (7, 10), (20, 0)], max_count=1) == [[20], [7], [5], [6]]


def test_the_patient_only_fill_up_the_batch_of_the_urgent() -> None:
    """Nearer in length or not, they take no place that an urgent one needs."""
    assert taken([(5, 30), (5, 30), (5, 0), (20, 0)], max_count=3) == [[5, 5, 20], [5]]


def test_patience_ends_so_that_nobody_starves() -> None:
    """Whoever has waited for longer than that goes before the urgent that have come since."""
    assert taken([(5, 1e-9), (6, 0), (7, 0)], max_count=1) == [[5], [6], [7]]
    assert taken([(5, 1e9), (6, 40), (7, 60)], max_count=1) == [[6], [5], [7]], "half of its time"


def test_the_answer_tells_what_call_it_was_part_of() -> None:
    batcher: Batcher[int, int] = Batcher("test", lambda batch: [0 for _ in batch], max_count=8, deadline_s=5)
    answers = batcher.ask_together([1, 2, 3])
    assert {answer.batch_size for answer in answers} == {3}
    assert len({answer.started_at for answer in answers}) == 1
    batcher.stop(wait_s=5)


def test_an_owner_that_raises_or_miscounts_fails_the_batch_and_goes_on() -> None:
    def run(batch: Sequence[int]) -> Sequence[int | VoxqueueError]:
        if batch[0] == 0:
            raise ZeroDivisionError("zero")
        return [] if batch[0] == 1 else list(batch)

    batcher = Batcher("test", run, max_count=8, deadline_s=5)
    for number, words in ((0, "ZeroDivisionError"), (1, "0 results")):
        result = batcher.ask(number).result
        assert isinstance(result, EngineFailed)
        assert words in result.detail
    assert batcher.ask(7).result == 7
    batcher.stop(wait_s=5)


def test_a_request_waits_no_longer_than_its_deadline_and_is_not_run_afterwards() -> None:
    gate = Gate()
    batcher = Batcher("test", gate, max_count=8, deadline_s=0.2)
    first = batcher.begin(1.0)
    assert gate.entered.wait(5)
    second = batcher.begin(2.0)
    assert isinstance(first().result, DeadlineExceeded)
    assert isinstance(second().result, NotBegun), "waiting in vain is no failure of its own"
    assert batcher.busy_s() > 0.1
    gate.opened.set()
    assert batcher.ask(3.0).result == 6.0
    assert gate.batches == [[1.0], [3.0]]
    batcher.stop(wait_s=5)


def test_stopping_answers_what_waits_and_lets_the_call_in_progress_end() -> None:
    gate = Gate()
    batcher = Batcher("test", gate, max_count=8, deadline_s=10)
    first = batcher.begin(1.0)
    assert gate.entered.wait(5)
    second = batcher.begin(2.0)
    batcher.stop()
    assert isinstance(second().result, NotBegun)
    assert isinstance(batcher.ask(3.0).result, NotBegun)
    gate.opened.set()
    assert first().result == 2.0


def test_a_request_that_is_no_longer_wanted_is_left_out() -> None:
    gate = Gate()
    batcher = Batcher("test", gate, max_count=8, deadline_s=10)
    first = batcher.begin(1.0)
    assert gate.entered.wait(5)
    unwanted = batcher.begin(2.0, wanted=lambda: False)
    wanted = batcher.begin(3.0)
    gate.opened.set()
    assert first().result == 2.0
    assert wanted().result == 6.0
    assert isinstance(unwanted().result, NotBegun)
    assert gate.batches == [[1.0], [3.0]]
    batcher.stop(wait_s=5)


def test_who_wants_to_be_alone_shares_a_batch_with_nobody() -> None:
    gate = Gate()
    batcher = Batcher("test", gate, max_count=8, deadline_s=10)
    asked = [batcher.begin(1.0)]
    assert gate.entered.wait(5)
    asked += [batcher.begin(number, alone=alone) for number, alone in ((2.0, False), (3.0, True), (4.0, False))]
    gate.opened.set()
    assert [answer().result for answer in asked] == [2.0, 4.0, 6.0, 8.0]
    assert gate.batches == [[1.0], [2.0, 4.0], [3.0]]
    batcher.stop(wait_s=5)


def test_many_threads_each_get_their_own_answer() -> None:
    batcher: Batcher[int, int] = Batcher("test", lambda batch: [n + 1000 for n in batch], max_count=16, deadline_s=10)
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(batcher.ask, range(2000)))
    assert [answer.result for answer in answers] == list(range(1000, 3000))
    assert max(answer.batch_size for answer in answers) <= 16
    batcher.stop(wait_s=5)
