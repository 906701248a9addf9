"""How far a stage says it is while it gets warm, and how long it says it will take."""

from dataclasses import dataclass

import pytest

from voxqueue.fleet import Spread
from voxqueue.fleet.forecast import Expected, expect
from workers.pace import Pace

pytestmark = pytest.mark.unit

# Loads within 8 s mostly and 10 s nearly always; warms up within 2 s and 3 s.
EXPECTED = Expected(load=Spread(p50=8, p90=10), warmup=Spread(p50=2, p90=3))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_way_is_divided_as_earlier_starts_were_and_moves_with_time(clock: Clock) -> None:
    pace = Pace(clock)
    assert pace.progress() == 0
    pace.load(EXPECTED)
    assert pace.progress() == 5
    seen = []
    for _ in range(9):
        clock.now += 1
        seen.append(pace.progress())
    assert seen == sorted(seen)
    assert seen[3] == 42, "half of the 75 percent that loading takes"
    clock.now += 1000
    assert pace.progress() < 80, "only its end is its end"
    pace.warm(EXPECTED)
    assert pace.progress() == 80
    clock.now += 1
    assert pace.progress() == 89
    pace.reach(1)
    assert pace.progress() == 99, "the last one is for being ready"


def test_without_a_past_it_goes_by_what_is_told(clock: Clock) -> None:
    pace = Pace(clock)
    pace.load(None)
    clock.now += 1000
    assert pace.progress() == 5
    pace.reach(0.5)
    assert pace.progress() == 22
    pace.warm(None)
    assert (pace.progress(), pace.eta(EXPECTED)) == (40, None)


def test_it_never_goes_back_when_another_engine_begins_or_the_next_try(clock: Clock) -> None:
    pace = Pace(clock)
    pace.load(EXPECTED)
    pace.warm(EXPECTED)
    pace.reach(0.9)
    far = pace.progress()
    for begin in (pace.load, pace.warm):
        begin(None)
        assert pace.progress() == far
    pace.give_up()
    assert pace.progress() == far
    pace.load(None)
    assert pace.progress() == far
    pace.arrive()
    assert pace.progress() == 0, "what comes after it was ready begins anew"


def test_what_is_left_shrinks_and_is_not_guessed_once_it_takes_too_long(clock: Clock) -> None:
    pace = Pace(clock)
    assert pace.eta(None) is None
    assert pace.eta(EXPECTED) == Spread(p50=10, p90=13)
    pace.load(EXPECTED)
    clock.now += 4
    assert pace.eta(None) == Spread(p50=6, p90=9)
    clock.now += 5
    assert pace.eta(None) == Spread(p50=2, p90=4), "late, but not beyond what happens"
    clock.now += 2
    assert pace.eta(None) is None
    pace.warm(EXPECTED)
    clock.now += 1
    assert pace.eta(None) == Spread(p50=1, p90=2)
    clock.now += 3
    assert pace.eta(None) is None
    pace.arrive()
    assert pace.eta(EXPECTED) is None


@dataclass
class Took:
    load_ms: float
    warmup_ms: float


def test_fewer_than_three_starts_say_nothing() -> None:
    assert expect([]) is None
    assert expect([Took(1000, 500)] * 2) is None
    assert expect([Took(1000, 500)] * 3) == Expected(Spread(p50=1, p90=1), Spread(p50=0.5, p90=0.5))


def test_half_of_the_starts_and_nine_of_ten() -> None:
    expected = expect([Took(1000 * number, 0) for number in range(11)])
    assert expected is not None
    assert (expected.load.p50, expected.load.p90) == (5, 9)
