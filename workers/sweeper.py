"""Upkeep: returns jobs whose worker went away, sends hints that were lost, removes blobs whose rows are gone.

Runs in every worker, one at a time across the fleet (an advisory lock), and is safe to run at any moment.
"""

import logging
import time

from sqlalchemy import text
from sqlalchemy.orm import Session

from voxqueue.database.session import Sessions, database_errors
from voxqueue.errors import DatabaseUnavailable, VoxqueueError, WorkersLost
from voxqueue.jobs import lifecycle, repository
from voxqueue.jobs.changes import Announcer
from voxqueue.jobs.lifecycle import Move
from voxqueue.jobs.repository import Hint, LostLease
from voxqueue.jobs.states import JobState
from voxqueue.queue import JobQueue
from voxqueue.settings import JobsSettings
from voxqueue.storage import BlobStore

log = logging.getLogger(__name__)

_LOCK = 0x766F79
_LIMIT = 1000  # rows per turn and question; what is left is the next turn's
_MAX_LOST_LEASES = 3


class Sweeper:
    """One turn of upkeep per call."""

    def __init__(
        self, sessions: Sessions, store: BlobStore, queue: JobQueue, announcer: Announcer, settings: JobsSettings
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._queue = queue
        self._announcer = announcer
        self._settings = settings
        self._leases_count_from = 0.0

    def __call__(self) -> None:
        """Sweep, unless another worker is at it."""
        try:
            with database_errors():
                if time.monotonic() > self._leases_count_from:
                    self._return_lost()
                self._send_stale_hints()
                self._remove_doomed()
        except DatabaseUnavailable as error:
            # Nobody could renew a lease meanwhile: that it ran out says nothing of its worker.
            self._leases_count_from = time.monotonic() + self._settings.lease_s
            log.warning("no upkeep: %s", error.__cause__)

    def _return_lost(self) -> None:
        """Put jobs whose lease has run out back into their queue, or end those that keep losing it."""
        with self._sessions.begin() as session:
            if not _alone(session):
                return
            lost = repository.lost_leases(session, self._settings.lease_s, _LIMIT)
            moves = [_return_or_end(one) for one in lost]
            made = [moved for moved in lifecycle.move(session.connection(), moves) if moved is not None]
        for moved in made:  # only now: who is told looks at once
            log.warning("job %s lost its worker at %s: %s", moved.job_id, moved.stage, moved.state)
            self._announcer.announce(moved.job_id, moved.state)
        self._queue.hint(
            [
                Hint(moved.job_id, moved.stage, moved.attempt, moved.priority)
                for moved in made
                if moved.state is JobState.QUEUED
            ]
        )

    def _send_stale_hints(self) -> None:
        """Send hints for jobs that wait in vain for the one they had."""
        with self._sessions() as session:
            waiting = [stage for stage, queue in repository.queues(session).items() if queue.depth]
        # Redis is asked outside of any transaction, since it may take its time.
        empty = {stage: priorities for stage in waiting if (priorities := self._queue.empty(stage)) is not None}
        if not empty:
            return
        with self._sessions.begin() as session:
            if not _alone(session):
                return
            hints = [
                hint
                for stage, priorities in empty.items()
                for hint in repository.stale_hints(
                    session, stage, self._settings.hint_stale_s, _LIMIT, empty=priorities
                )
            ]
        self._queue.hint(hints)

    def _remove_doomed(self) -> None:
        """Remove blobs from the store, then the note of them: a crash in between only repeats the removal."""
        with self._sessions() as session:
            keys = repository.doomed(session, _LIMIT)
        if not keys:
            return
        try:
            self._store.delete(keys)
        except VoxqueueError as error:
            log.warning("%d blobs not removed yet: %s", len(keys), error.detail)
            return
        with self._sessions.begin() as session:
            repository.forget_doomed(session, keys)


def _alone(session: Session) -> bool:
    """Whether nobody else sweeps; holds until the transaction ends."""
    return bool(session.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}))


def _return_or_end(lost: LostLease) -> Move:
    times = lost.lost_before + 1
    if times < _MAX_LOST_LEASES:
        return lifecycle.lose_lease(lost.job_id, lost.attempt)
    error = WorkersLost(f"{times} workers went away while they ran this job; it is not tried again.")
    return lifecycle.give_up(lost.job_id, lost.attempt, {**error.as_problem(), "stage": lost.stage.value})
