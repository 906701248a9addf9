"""A loop that turns, and one that hangs."""

from collections.abc import Callable

import pytest

from workers.pulse import Pulse

pytestmark = pytest.mark.unit


def test_a_loop_that_does_not_call_back_in_time_has_hung_until_it_does() -> None:
    now, asked = [0.0], list[Callable[[], None]]()
    pulse = Pulse(patience_s=5, clock=lambda: now[0])
    pulse.feel()
    assert pulse.trouble is None, "there is no loop yet"
    pulse.follow(asked.append)
    for _ in range(3):
        pulse.feel()
        asked.pop()()
        now[0] += 100
        assert pulse.trouble is None, "it has called back, however long nobody asks"
    pulse.feel()
    now[0] += 5
    assert pulse.trouble is None
    now[0] += 1
    assert pulse.trouble is not None
    assert "hung for 6 s" in pulse.trouble
    asked.clear()  # as a loop does that begins anew
    pulse.feel()
    asked.pop()()
    assert pulse.trouble is None
