"""For what happens again and again, and need not be logged each time."""

import time

_PAUSE_S = 60.0


class Seldom:
    """Is due once a minute."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def due(self) -> bool:
        now = time.monotonic()
        if now - self._last < _PAUSE_S:
            return False
        self._last = now
        return True
