"""Waits for what is to come about, for as long as a busy machine may take."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], timeout_s: float = 20, *, left: object = "") -> None:
    """Return once the condition holds. `AssertionError`, with what is `left` then, if it does not within the time."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, f"it did not come about {left}".rstrip()
        time.sleep(0.02)
