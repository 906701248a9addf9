"""Sweeps: does chores one after the other, in one worker of the fleet at a time. Knows nothing of what the chores are.

Every chore is safe to be done at any moment and by several workers at once: the lock saves work, no more.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import IntEnum

from sqlalchemy import Connection, Engine, text

from voxqueue.database.session import database_errors
from voxqueue.errors import DatabaseUnavailable, VoxqueueError

log = logging.getLogger(__name__)

_LOCKS = 0x766F79  # sets our advisory locks apart from those of others in the same database
LIMIT = 1000
"""Rows that a chore takes at once; what is left is the next sweep's."""

_LONGEST_IDLE_S = 60  # a worker that froze with the lock loses it after so long

Chore = Callable[[], None]


class Lock(IntEnum):
    """The advisory locks of upkeep."""

    JOBS = 1
    CLEANING = 2
    WALK = 3


class Outages:
    """Remembers for as long as a lease lasts that the database gave no answer.

    Nobody could renew a lease meanwhile: that one ran out then says nothing of its worker.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._until = 0.0

    @property
    def recent(self) -> bool:
        return time.monotonic() < self._until

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Notice when the database cannot be asked in the block, or is frozen."""
        began = time.monotonic()
        try:
            yield
        except BaseException:
            self._until = time.monotonic() + self._lease_s
            raise
        if time.monotonic() - began > self._lease_s / 2:
            self._until = time.monotonic() + self._lease_s


class Sweeper:
    """One sweep per call: every chore, in order. One that fails does not keep the others from being done."""

    def __init__(self, engine: Engine, lock: Lock, chores: Mapping[str, Chore], outages: Outages) -> None:
        self._engine = engine
        self._lock = lock
        self._chores = chores
        self._outages = outages

    def __call__(self) -> None:
        """Sweep, unless another worker is at it."""
        try:
            with database_errors(), ExitStack() as held:
                with self._outages.watch():
                    alone = held.enter_context(self._alone())
                if alone:
                    for name, chore in self._chores.items():
                        _do(name, chore)
        except DatabaseUnavailable as error:
            log.warning("upkeep did not begin, or broke off: %s", error.__cause__)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether nobody else does these chores; nobody begins until the block ends, or this process does.

        The transaction holds the lock and nothing else, so it is in nobody's way while a chore waits for the store.
        """
        with self._engine.begin() as connection:
            connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{_LONGEST_IDLE_S}s'"))
            yield try_lock(connection, self._lock, until_commit=True)


def try_lock(connection: Connection, lock: Lock, *, until_commit: bool) -> bool:
    """Take a lock, without waiting, until the end of the transaction or of the connection."""
    function = "pg_try_advisory_xact_lock" if until_commit else "pg_try_advisory_lock"
    return bool(connection.scalar(text(f"SELECT {function}(:locks, :lock)"), {"locks": _LOCKS, "lock": lock.value}))


def unlock(connection: Connection, lock: Lock) -> None:
    """Give back a lock that was taken until the end of the connection."""
    connection.execute(text("SELECT pg_advisory_unlock(:locks, :lock)"), {"locks": _LOCKS, "lock": lock.value})


def _do(name: str, chore: Chore) -> None:
    try:
        with database_errors():
            chore()
    except VoxqueueError as error:
        log.warning("%s: put off until the next sweep: %s", name, error.__cause__ or error.detail)
    except Exception:
        log.exception("%s failed; the other chores are done all the same", name)
