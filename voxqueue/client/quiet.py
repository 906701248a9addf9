"""Notices that nothing new has come for a while, so that whoever waits can say so. Knows no API."""

import time
from collections.abc import Callable

from voxqueue.client.answers import Job
from voxqueue.client.errors import ClientError

OnQuiet = Callable[[float, Job | None, ClientError | None], None]
"""Gets the seconds since anything was new, the job as last seen, and why the API does not answer, if it does not."""

_FIRST_S = 10.0  # and then after twice as long each time: a job may take an hour


class Quiet:
    """Calls `tell` when nothing new has come for ten seconds, twenty, forty and so on.

    Args:
        tell: What to call; None calls nothing.
        clock: Seconds.
    """

    def __init__(self, tell: OnQuiet | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self.news()

    def news(self) -> None:
        """Something new has come."""
        self._since = self._clock()
        self._patience_s = _FIRST_S

    def still(self, job: Job | None, error: ClientError | None) -> None:
        """Nothing new has come with this look."""
        silent_s = self._clock() - self._since
        if self._tell is not None and silent_s >= self._patience_s:
            self._patience_s *= 2
            self._tell(silent_s, job, error)
