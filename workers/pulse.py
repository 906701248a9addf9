"""Whether the Celery consumer still turns: its loop is asked, with every heartbeat, to call back.

A consumer that hangs takes no jobs, however warm the engines are, and nothing else would show it.
"""

import time
from collections.abc import Callable


class Pulse:
    """Feels whether a loop turns. `feel` and `trouble` may be called from any thread.

    Args:
        patience_s: How long the loop may leave a call lying.
        clock: Seconds.
    """

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._call_soon: Callable[[Callable[[], None]], object] | None = None
        self._asked_at: float | None = None  # since when it has not called back

    def follow(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """From now on, this is the loop; `call_soon` has it call something."""
        self._call_soon = call_soon

    def feel(self) -> None:
        """Ask the loop to call back. Each time anew, since a loop that begins anew forgets what it was asked."""
        if self._call_soon is None:
            return
        if self._asked_at is None:
            self._asked_at = self._clock()
        self._call_soon(self._beat)

    @property
    def trouble(self) -> str | None:
        """What is wrong; None while it turns."""
        silent_s = self._clock() - asked_at if (asked_at := self._asked_at) is not None else 0.0
        if silent_s <= self._patience_s:
            return None
        return (
            f"The worker's Celery consumer has hung for {silent_s:.0f} s, so it takes no jobs. "
            "Restart the worker if that lasts."
        )

    def _beat(self) -> None:
        self._asked_at = None
