"""Every query about jobs, each with a sentence. Reads and plain inserts only: states are moved by `lifecycle`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Connection,
    Executable,
    Table,
    Uuid,
    any_,
    bindparam,
    case,
    cast,
    delete,
    func,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload
from sqlalchemy.orm.attributes import instance_dict, set_committed_value

from voxqueue.database.base import Base
from voxqueue.errors import NotFound
from voxqueue.jobs.kinds import Kind, Priority
from voxqueue.jobs.models import DoomedBlob, Job, Note, StageRun
from voxqueue.jobs.states import OPEN_STATES, JobState, RunState
from voxqueue.stages import Stage

Claim = tuple[UUID, int]
"""A job and the attempt under which it is held."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A job that a worker should look at, and the queue to say so on."""

    job_id: UUID
    stage: Stage
    attempt: int
    priority: Priority


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job in a line. `progress` goes from 0 to 100."""

    id: UUID
    tenant: str
    kind: Kind
    state: JobState
    stage: Stage
    progress: int


@dataclass(frozen=True, slots=True)
class StageQueue:
    """How much waits for a stage and how much of it runs; the age is of the longest waiting job that is due."""

    depth: int
    running: int
    oldest_age_s: float | None


# As `add` fills them in. One statement, since the driver takes twice as long for several sets of values.
_ADD_RUNS = text("""
    INSERT INTO stage_runs (job_id, stage, position, state, failures, progress, degradations, ready_at)
    SELECT :job_id, stage, place - 1, 'pending', 0, 0, '[]',
        CASE WHEN place = 1 THEN CAST(:created_at AS timestamptz) END
    FROM unnest(CAST(:stages AS text[])) WITH ORDINALITY AS made(stage, place)
""")


# Made once: that takes longer than to send them.
_STATE = select(Job.state).where(Job.id == bindparam("job_id"), Job.tenant == bindparam("tenant"))
_WHOLE = select(Job).where(Job.id == bindparam("job_id")).options(joinedload(Job.runs))  # all in one query


def add(session: Session, job: Job) -> None:
    """Insert a new job, its note if it has one, and a pending run for each stage of its kind.

    Plain inserts, since the ORM's would double the time of a submission; the objects are filled in, but belong to no
    session.
    """
    connection = session.connection()
    if job.note is not None:
        job.note_id = _insert(connection, job.note).id
    job.stage = job.kind.stages[0]
    _insert(connection, job)
    job.runs = [
        StageRun(
            job_id=job.id,
            stage=stage,
            position=position,
            state=RunState.PENDING,
            failures=0,
            progress=0.0,
            degradations=[],
            ready_at=None if position else job.created_at,
        )
        for position, stage in enumerate(job.kind.stages)
    ]
    stages = [stage.value for stage in job.kind.stages]
    connection.execute(_ADD_RUNS, {"job_id": job.id, "stages": stages, "created_at": job.created_at})


def _insert(connection: Connection, row: Base) -> Any:
    """Insert one object and fill in what the database and the defaults have added."""
    table = row.__table__
    assert isinstance(table, Table)
    inserted = connection.execute(_insertion(table), _values(row)).one()
    for attribute, value in zip(inspect(type(row)).column_attrs, inserted, strict=True):
        set_committed_value(row, attribute.key, value)
    return inserted


@cache
def _insertion(table: Table) -> Executable:
    """Made once: that takes longer than to send it."""
    return insert(table).returning(*table.columns)


def _values(row: Base) -> dict[str, Any]:
    """What has been set on an object, by column."""
    known = instance_dict(row)
    attributes = inspect(type(row)).column_attrs
    return {attribute.columns[0].name: known[attribute.key] for attribute in attributes if attribute.key in known}


def get(session: Session, job_id: UUID, tenant: str, *, lock: bool = False) -> Job:
    """One job with its note and runs; locked, nobody moves it until the commit. Raises `NotFound`, also for a
    stranger's."""
    if lock:
        job = session.get(Job, job_id, with_for_update={"of": Job})
    else:
        job = session.scalars(_WHOLE, {"job_id": job_id}).unique().one_or_none()
    if job is None or job.tenant != tenant:
        raise NotFound(f"There is no job {job_id}.")
    return job


def page(
    session: Session,
    tenant: str,
    *,
    limit: int,
    after: UUID | None = None,
    state: JobState | None = None,
    kind: Kind | None = None,
) -> Sequence[Job]:
    """A tenant's jobs from the newest on, those made before the job `after`; at most `limit`."""
    query = select(Job).where(Job.tenant == tenant).order_by(Job.id.desc()).limit(limit)
    if after is not None:
        query = query.where(Job.id < after)
    if state is not None:
        query = query.where(Job.state == state)
    if kind is not None:
        query = query.where(Job.kind == kind)
    return session.scalars(query).unique().all()


def lines(session: Session, job_ids: Collection[UUID]) -> list[JobLine]:
    """These jobs, of whatever tenant, in a line each."""
    is_done = StageRun.state.in_((RunState.SUCCEEDED, RunState.SKIPPED))
    share = func.avg(case((is_done, 1.0), else_=func.least(StageRun.progress, 0.99)))
    rows = session.execute(
        select(Job.id, Job.tenant, Job.kind, Job.state, Job.stage, share)
        .join(StageRun, StageRun.job_id == Job.id)
        .where(Job.id == any_(cast(list(job_ids), ARRAY(Uuid))))  # one parameter, however many they are
        .group_by(Job.id)
    )
    return [
        JobLine(job_id, tenant, kind, state, stage, int(100 * done))
        for job_id, tenant, kind, state, stage, done in rows
    ]


def state_of(session: Session, job_id: UUID, tenant: str) -> JobState | None:
    """Just the state, for those who wait for it; None if the tenant has no such job."""
    return session.scalar(_STATE, {"job_id": job_id, "tenant": tenant})


def remove(session: Session, job: Job) -> None:
    """Delete a job in any state, its runs and its note; their blobs are doomed in the same transaction."""
    speech = job.run_of(Stage.TTS)
    keys = [speech.result["key"]] if speech is not None and speech.result else []
    session.execute(delete(Job).where(Job.id == job.id))
    if job.note is not None:
        session.execute(delete(Note).where(Note.id == job.note.id))
        keys.append(job.note.key)
    doom(session, keys)


def doom(session: Session, keys: Sequence[str]) -> None:
    """Remember blobs that are to be removed from the store."""
    if keys:
        session.execute(insert(DoomedBlob).on_conflict_do_nothing(), [{"key": key} for key in keys])


def doomed(session: Session, limit: int) -> Sequence[str]:
    """Keys of blobs that are to be removed from the store."""
    return session.scalars(select(DoomedBlob.key).order_by(DoomedBlob.doomed_at).limit(limit)).all()


def forget_doomed(session: Session, keys: Collection[str]) -> None:
    """The store has removed these."""
    session.execute(delete(DoomedBlob).where(DoomedBlob.key.in_(keys)))


def postpone_doomed(session: Session, keys: Collection[str]) -> None:
    """The store has not removed these: others come first now."""
    session.execute(update(DoomedBlob).where(DoomedBlob.key.in_(keys)).values(doomed_at=func.now()))


# Locked in the order of their ids, as `lifecycle.move` does.
_RENEW = text("""
    WITH locked AS MATERIALIZED (
        SELECT id FROM jobs WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE
    )
    UPDATE jobs SET lease_until = now() + make_interval(secs => :lease_s)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[])) AS held(id, attempt) JOIN locked USING (id)
    WHERE jobs.id = held.id AND jobs.attempt = held.attempt AND jobs.state = 'running'
    RETURNING jobs.id, jobs.attempt
""")


def renew(session: Session, held: Collection[Claim], lease_s: float) -> set[Claim]:
    """Prolong the leases of the jobs held. What is not in the answer is held no more."""
    ids, attempts = [job_id for job_id, _ in held], [attempt for _, attempt in held]
    rows = session.execute(_RENEW, {"ids": ids, "attempts": attempts, "lease_s": lease_s})
    return {(row.id, row.attempt) for row in rows}


_TELL_PROGRESS = text("""
    UPDATE stage_runs SET progress = greatest(stage_runs.progress, made.share)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:stages AS text[]), CAST(:shares AS real[])) AS made(id, stage, share)
    WHERE stage_runs.job_id = made.id AND stage_runs.stage = made.stage AND stage_runs.state = 'running'
""")


def tell_progress(session: Session, made: Sequence[tuple[UUID, Stage, float]]) -> None:
    """Write down how much of these jobs' stages is done, from 0 to 1; it never goes back.

    The caller has renewed the jobs' leases in the same transaction: that is what says whose word counts.
    """
    ids, stages, shares = zip(*made, strict=True)
    names = [stage.value for stage in stages]
    session.execute(_TELL_PROGRESS, {"ids": list(ids), "stages": names, "shares": list(shares)})


def queues(session: Session) -> dict[Stage, StageQueue]:
    """What waits and what runs at each stage."""
    age = func.extract("epoch", func.now() - func.min(Job.due_at).filter(Job.state == JobState.QUEUED))
    rows = session.execute(
        select(
            Job.stage,
            func.count().filter(Job.state == JobState.QUEUED),
            func.count().filter(Job.state == JobState.RUNNING),
            age,
        )
        .where(Job.state.in_(OPEN_STATES))
        .group_by(Job.stage)
    )
    found = {
        stage: StageQueue(depth, running, None if oldest is None else max(0.0, float(oldest)))
        for stage, depth, running, oldest in rows
    }
    return {stage: found.get(stage, StageQueue(0, 0, None)) for stage in Stage}
