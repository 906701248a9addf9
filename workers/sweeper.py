"""Upkeep: returns jobs whose worker went away, sends hints that were lost, removes blobs whose rows are gone.

Runs in every worker, one at a time across the fleet (an advisory lock), and is safe to run at any moment.
"""

import logging

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

    def __call__(self) -> None:
        """Sweep, unless another worker is at it."""
        try:
            with database_errors():
                self._sweep()
        except DatabaseUnavailable as error:
            log.warning("no upkeep: %s", error.__cause__)

    def _sweep(self) -> None:
        with self._sessions.begin() as session:
            if not _alone(session):
                return
            hints = [*self._return_lost(session), *self._stale_hints(session)]
        self._queue.hint(hints)
        self._remove_doomed()

    def _return_lost(self, session: Session) -> list[Hint]:
        """Put jobs whose lease has run out back into their queue, or end those that keep losing it."""
        moves = [_return_or_end(lost) for lost in repository.lost_leases(session, _LIMIT)]
        made = [moved for moved in lifecycle.move(session.connection(), moves) if moved is not None]
        for moved in made:
            log.warning("job %s lost its worker at %s: %s", moved.job_id, moved.stage, moved.state)
            self._announcer.announce(moved.job_id, moved.state)
        return [
            Hint(moved.job_id, moved.stage, moved.attempt, moved.priority)
            for moved in made
            if moved.state is JobState.QUEUED
        ]

    def _stale_hints(self, session: Session) -> list[Hint]:
        """Hints for jobs that wait in vain for the one they had."""
        hints: list[Hint] = []
        for stage, waiting in repository.queues(session).items():
            in_redis = self._queue.depth(stage) if waiting.depth else None
            if in_redis is None:
                continue  # nothing waits, or Redis is away
            stale_s = self._settings.hint_stale_s
            hints += repository.stale_hints(session, stage, stale_s, _LIMIT, queue_is_empty=in_redis == 0)
        return hints

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
        return lifecycle.lose_lease(lost.job_id, lost.attempt, lost.stage)
    error = WorkersLost(f"{times} workers went away while they ran this job; it is not tried again.")
    return lifecycle.give_up(lost.job_id, lost.attempt, lost.stage, {**error.as_problem(), "stage": lost.stage.value})
