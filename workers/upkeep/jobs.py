"""Chores about jobs that nobody works on: whose worker went away, whose hint was lost, who have waited for too long."""

import logging
from collections.abc import Sequence

from sqlalchemy.orm import Session

from voxqueue.database.session import Sessions
from voxqueue.errors import JobExpired, WorkersLost
from voxqueue.jobs import lifecycle, overdue, repository
from voxqueue.jobs.changes import Announcer
from voxqueue.jobs.lifecycle import Move, Moved
from voxqueue.jobs.overdue import LostLease
from voxqueue.jobs.repository import Hint
from voxqueue.jobs.states import JobState
from voxqueue.metrics import jobs as job_metrics
from voxqueue.metrics import upkeep as metrics
from voxqueue.queue import JobQueue
from voxqueue.settings import JobsSettings
from workers.upkeep.sweeper import LIMIT, Outages

log = logging.getLogger(__name__)


class LostLeases:
    """Puts jobs whose lease has run out back into their queue, or ends those that keep taking their worker down."""

    def __init__(
        self, sessions: Sessions, queue: JobQueue, announcer: Announcer, settings: JobsSettings, outages: Outages
    ) -> None:
        self._sessions = sessions
        self._queue = queue
        self._announcer = announcer
        self._settings = settings
        self._outages = outages

    def __call__(self) -> None:
        if self._outages.recent:
            return
        with self._sessions.begin() as session:
            with self._outages.watch():
                lost = overdue.lost_leases(session, self._settings.lease_s, LIMIT)
            if self._outages.recent:
                return
            made = _move(session, [self._return_or_end(one) for one in lost])
        for moved in made:
            log.warning("job %s lost its worker at %s: %s", moved.job_id, moved.stage, moved.state)
            metrics.lease_lost(moved.stage, poison=moved.state is JobState.FAILED)
        _tell(made, self._queue, self._announcer)

    def _return_or_end(self, lost: LostLease) -> Move:
        times = lost.lost_before + lost.begun
        if times < self._settings.max_lost_workers:
            return lifecycle.lose_lease(lost.job_id, lost.attempt)
        error = WorkersLost(f"{times} workers went away while they ran this job; it is not tried again.")
        return lifecycle.give_up(lost.job_id, lost.attempt, {**error.as_problem(), "stage": lost.stage.value})


class Expiry:
    """Fails jobs that have waited for a worker for so long that nobody waits for them any more."""

    def __init__(self, sessions: Sessions, queue: JobQueue, announcer: Announcer, settings: JobsSettings) -> None:
        self._sessions = sessions
        self._queue = queue
        self._announcer = announcer
        self._expire_s = settings.expire_s

    def __call__(self) -> None:
        with self._sessions.begin() as session:
            made = _move(session, [self._expire(one) for one in overdue.expired(session, self._expire_s, LIMIT)])
        if made:
            log.warning("%d jobs have waited for more than %g s and are failed", len(made), self._expire_s)
        for moved in made:
            metrics.expired(moved.stage)
        _tell(made, self._queue, self._announcer)

    def _expire(self, waiting: Hint) -> Move:
        error = JobExpired(
            f"No worker came to {waiting.stage} within {self._expire_s:g} s. Try the job again once there are workers."
        )
        return lifecycle.expire(waiting.job_id, waiting.attempt, {**error.as_problem(), "stage": waiting.stage.value})


class LostHints:
    """Sends hints for jobs that wait in vain for the one they had."""

    def __init__(self, sessions: Sessions, queue: JobQueue, settings: JobsSettings) -> None:
        self._sessions = sessions
        self._queue = queue
        self._stale_s = settings.hint_stale_s

    def __call__(self) -> None:
        with self._sessions() as session:
            waiting = [stage for stage, queue in repository.queues(session).items() if queue.depth]
        # Redis is asked outside of any transaction, since it may take its time.
        empty = {stage: priorities for stage in waiting if (priorities := self._queue.empty(stage)) is not None}
        if not empty:
            return
        with self._sessions.begin() as session:
            hints = [
                hint
                for stage, priorities in empty.items()
                for hint in overdue.stale_hints(session, stage, self._stale_s, LIMIT, empty=priorities)
            ]
        self._queue.hint(hints)
        for hint in hints:
            metrics.hinted_again(hint.stage)


def _move(session: Session, moves: Sequence[Move]) -> list[Moved]:
    return [moved for moved in lifecycle.move(session.connection(), moves) if moved is not None]


def _tell(made: Sequence[Moved], queue: JobQueue, announcer: Announcer) -> None:
    """Say what has become of jobs; only after the commit, since who is told looks at once."""
    for moved in made:
        announcer.announce(moved.job_id, moved.state)
        job_metrics.moved(moved)
    queue.hint(
        [
            Hint(moved.job_id, moved.stage, moved.attempt, moved.priority)
            for moved in made
            if moved.state is JobState.QUEUED
        ]
    )
    if any(moved.owes for moved in made):
        queue.ask_for_delivery()
