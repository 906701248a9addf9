"""Whether there is room for another job: bounds how many wait, and how many of one key are under way.

Asked before a request's body is read. The database is asked once a second and in the background, so that a deep queue
slows nobody down.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

from sqlalchemy.orm import Session

from voxqueue.database.session import Sessions, database_errors
from voxqueue.errors import QueueFull, TooManyJobs
from voxqueue.jobs import load
from voxqueue.keys.caller import Caller
from voxqueue.settings import LimitsSettings

_SHORTEST_S, _LONGEST_S = 1.0, 600.0  # bounds of Retry-After
_NOTHING_MOVES_S = 60.0


class Tally:
    """A count in the database, and what this process has added to it since.

    Args:
        count: Asks the database.
        background: Where that happens.
    """

    FRESH_S = 1.0  # older than this, it is counted again
    STALE_S = 5.0  # older than this, nobody goes by it

    def __init__(self, count: Callable[[], int], background: ThreadPoolExecutor) -> None:
        self._count = count
        self._background = background
        self._lock = threading.Lock()
        self._looking: Future[None] | None = None
        self._looked_at = float("-inf")
        self._counted = 0
        self._added = 0  # since the count in force began
        self._added_lately = 0  # since the latest one began
        self._pending = 0  # taken, and nobody knows yet what becomes of it

    def get(self) -> int:
        """The count by now, rather too high than too low. Raises `DatabaseUnavailable`."""
        self._keep_fresh()
        with self._lock:
            return self._sum()

    def take(self, limit: int) -> bool:
        """Count one more, unless the limit is reached. Whoever got it says by `settle` what became of it."""
        self._keep_fresh()
        with self._lock:
            if self._sum() >= limit:
                return False
            self._pending += 1
            return True

    def settle(self, *, came_about: bool) -> None:
        """What was taken is in the database now, or will never be."""
        with self._lock:
            self._pending -= 1
            self._added += came_about
            self._added_lately += came_about

    def _sum(self) -> int:
        return self._counted + self._added + self._pending

    def _keep_fresh(self) -> None:
        with self._lock:
            age = time.monotonic() - self._looked_at
            if age > self.FRESH_S and self._looking is None:
                self._looking = self._background.submit(self._look)
            looking = self._looking
        if age > self.STALE_S and looking is not None:
            looking.result()

    def _look(self) -> None:
        with self._lock:
            self._added_lately = 0
        began = time.monotonic()
        try:
            counted = self._count()
        except BaseException:
            with self._lock:
                self._looking = None
            raise
        with self._lock:
            self._counted, self._added = counted, self._added_lately
            self._looked_at, self._looking = began, None


class Ticket:
    """Leave to hand in one job. Settled once, when the request is over."""

    def __init__(self, *taken: Tally) -> None:
        self._taken = taken

    def settle(self, *, accepted: bool) -> None:
        for tally in self._taken:
            tally.settle(came_about=accepted)


class Admission:
    """Says yes or no to new jobs. One per process, shared by its threads."""

    def __init__(self, sessions: Sessions, limits: LimitsSettings) -> None:
        self._sessions = sessions
        self._limits = limits
        self._background = ThreadPoolExecutor(2, thread_name_prefix="admission")
        self._lock = threading.Lock()
        self._queued = self._tally(load.queued)
        self._finished = self._tally(load.finished)
        self._of_key: dict[str | None, tuple[Tally, Tally]] = {}  # what is under way, and what has finished lately

    def admit(self, caller: Caller) -> Ticket:
        """Let one job of this caller in.

        Raises:
            QueueFull: Too many jobs wait.
            TooManyJobs: The caller has too many under way.
            DatabaseUnavailable: Nobody can say.
        """
        under_way, finished = self._tallies_of(caller.key_id)
        limits = self._limits
        if not under_way.take(limits.open_jobs):
            wait = _wait_s(under_way.get() - limits.open_jobs, finished.get())
            words = f"You have {limits.open_jobs:,} jobs under way, and no more are taken until some have finished."
            raise TooManyJobs(words, retry_after=wait)
        with ExitStack() as if_refused:
            if_refused.callback(under_way.settle, came_about=False)
            if not self._queued.take(limits.queued_jobs):
                wait = _wait_s(self._queued.get() - limits.queued_jobs, self._finished.get())
                raise QueueFull(f"{limits.queued_jobs:,} jobs wait already. Send this one later.", retry_after=wait)
            if_refused.pop_all()
        return Ticket(under_way, self._queued)

    def close(self) -> None:
        self._background.shutdown(cancel_futures=True)

    def _tallies_of(self, key_id: str | None) -> tuple[Tally, Tally]:
        with self._lock:
            if key_id not in self._of_key:
                under_way = self._tally(lambda session: load.under_way(session, key_id))
                self._of_key[key_id] = under_way, self._tally(lambda session: load.finished_of(session, key_id))
            return self._of_key[key_id]

    def _tally(self, count: Callable[[Session], int]) -> Tally:
        def ask() -> int:
            with database_errors(), self._sessions() as session:
                return count(session)

        return Tally(ask, self._background)


def _wait_s(too_many: int, finished: int) -> float:
    """Seconds until a count that is at or over its limit has fallen below it, at the rate of the last minute."""
    if not finished:
        return _NOTHING_MOVES_S
    return min(max((too_many + 1) * load.DRAIN_WINDOW_S / finished, _SHORTEST_S), _LONGEST_S)
