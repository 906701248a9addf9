"""Jobs of which something should have come by now: leases that were lost, hints that were, jobs that waited too long.

Queries only, each with a sentence, for upkeep. What is done about what they find is upkeep's.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, aliased

from voxqueue.jobs.kinds import Priority
from voxqueue.jobs.models import Job, StageRun
from voxqueue.jobs.repository import Hint
from voxqueue.jobs.states import JobState
from voxqueue.stages import Stage

_OUT_OF_ORDER = timedelta(seconds=2)  # hints are taken in their order, but by many threads at once


@dataclass(frozen=True, slots=True)
class LostLease:
    """A running job whose worker has not renewed its lease, and how often that happened to the job before.

    `begun`: the worker was at it; else the job only waited there.
    """

    job_id: UUID
    attempt: int
    stage: Stage
    lost_before: int
    begun: bool


def lost_leases(session: Session, lease_s: float, limit: int) -> list[LostLease]:
    """Running jobs whose lease is over. None while the database itself has not been up for as long as a lease lasts:
    nobody could renew one."""
    up_for_long = func.now() > func.pg_postmaster_start_time() + timedelta(seconds=lease_s)
    columns = (Job.id, Job.attempt, Job.stage, Job.lost_leases, StageRun.started_at.is_not(None))
    lost = (
        select(*columns)
        .join(StageRun, (StageRun.job_id == Job.id) & (StageRun.stage == Job.stage))
        .where(Job.state == JobState.RUNNING, Job.lease_until < func.now(), up_for_long)
        .order_by(Job.lease_until)
        .limit(limit)
    )
    return [LostLease(*row) for row in session.execute(lost)]


def expired(session: Session, expire_s: float, limit: int) -> list[Hint]:
    """Queued jobs that have been due for longer than a job may wait, the oldest first."""
    waited = (
        select(Job.id, Job.stage, Job.attempt, Job.priority)
        .where(Job.state == JobState.QUEUED, Job.due_at < func.now() - timedelta(seconds=expire_s))
        .order_by(Job.due_at)
        .limit(limit)
    )
    return [Hint(*row) for row in session.execute(waited)]


def stale_hints(
    session: Session, stage: Stage, stale_s: float, limit: int, *, empty: Collection[Priority]
) -> list[Hint]:
    """Queued jobs that are due and whose hint was never sent, or is lost; they count as hinted now.

    A hint is lost if the queue of its priority is empty, or if a job of that priority that was hinted later runs
    already: a deep backlog, whose hints are merely old, is not hinted again.
    """
    running = aliased(Job)
    latest = (
        select(running.priority, func.max(running.hinted_at).label("hinted_at"))
        .where(running.state == JobState.RUNNING, running.stage == stage)
        .group_by(running.priority)
        .subquery()
    )
    is_old = Job.hinted_at < func.now() - timedelta(seconds=stale_s)
    is_passed_over = Job.priority.in_(empty) | (Job.hinted_at < latest.c.hinted_at - _OUT_OF_ORDER)
    waiting = (
        select(Job.id)
        .outerjoin(latest, latest.c.priority == Job.priority)
        .where(Job.state == JobState.QUEUED, Job.stage == stage, Job.due_at <= func.now())
        .where(Job.hinted_at.is_(None) | (is_old & is_passed_over))
        .order_by(Job.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True, of=Job)
    )
    hinted = (
        update(Job)
        .where(Job.id.in_(waiting.scalar_subquery()))
        .values(hinted_at=func.now())
        .returning(Job.id, Job.stage, Job.attempt, Job.priority)
        .execution_options(synchronize_session=False)
    )
    return [Hint(*row) for row in session.execute(hinted)]
