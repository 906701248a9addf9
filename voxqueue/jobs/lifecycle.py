"""Moves jobs from state to state. `move` is the only writer of a job's and a stage run's `state`.

A move is a value that says what somebody wants; whether it came about is the answer. Everything a worker wants carries
the attempt that it holds (the fencing token), so whoever lost its lease changes nothing any more. All times are the
database's.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from voxqueue.jobs.kinds import Priority
from voxqueue.jobs.states import TRANSITIONS, JobState, RunState
from voxqueue.stages import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one stage of a job ended, or that it begins.

    `run_ms` is the model call's own time, `started_ms_ago` how long before now that call began.
    """

    stage: Stage
    state: RunState
    engine: str | None = None
    model: str | None = None
    result: dict[str, Any] | None = None
    reason: str | None = None
    run_ms: float | None = None
    started_ms_ago: float | None = None
    batch_size: int | None = None
    failed_try: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What somebody wants of a job. Make one with the functions below, which name every case there is."""

    job_id: UUID
    to: JobState
    origins: tuple[JobState, ...]
    attempt: int | None = None
    stage: Stage | None = None
    outcomes: tuple[Outcome, ...] = ()
    claims: bool = False
    served: tuple[Stage, ...] | None = None
    worker: str | None = None
    lease_s: float | None = None
    due_in_s: float = 0
    lost: bool = False
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A move that came about: the job as it stands now. `is_due`: not one that waits for a later time."""

    job_id: UUID
    attempt: int
    state: JobState
    stage: Stage
    priority: Priority
    is_due: bool


def claim(job_id: UUID, *, worker: str, stages: Iterable[Stage], lease_s: float) -> Move:
    """A worker takes a queued job that is due and stands at a stage which the worker serves."""
    return Move(
        job_id=job_id,
        to=JobState.RUNNING,
        origins=(JobState.QUEUED,),
        claims=True,
        served=tuple(stages),
        worker=worker,
        lease_s=lease_s,
    )


def proceed(job_id: UUID, attempt: int, outcomes: tuple[Outcome, ...], stage: Stage, *, lease_s: float) -> Move:
    """Commit a stage and go on with the next one under the same claim."""
    begun = Outcome(stage=stage, state=RunState.RUNNING)
    return Move(
        job_id=job_id,
        attempt=attempt,
        to=JobState.RUNNING,
        origins=(JobState.RUNNING,),
        stage=stage,
        outcomes=(*outcomes, begun),
        lease_s=lease_s,
    )


def hand_over(job_id: UUID, attempt: int, outcomes: tuple[Outcome, ...], stage: Stage) -> Move:
    """Commit a stage and put the job where the next one is served."""
    waiting = Outcome(stage=stage, state=RunState.PENDING)
    return Move(
        job_id=job_id,
        attempt=attempt,
        to=JobState.QUEUED,
        origins=(JobState.RUNNING,),
        stage=stage,
        outcomes=(*outcomes, waiting),
    )


def succeed(job_id: UUID, attempt: int, outcomes: tuple[Outcome, ...]) -> Move:
    """Commit the last stage, and with it the job."""
    return Move(
        job_id=job_id, attempt=attempt, to=JobState.SUCCEEDED, origins=(JobState.RUNNING,), outcomes=tuple(outcomes)
    )


def fail(job_id: UUID, attempt: int, outcomes: tuple[Outcome, ...], error: dict[str, Any]) -> Move:
    """End the job with an error, a problem document's members."""
    return Move(
        job_id=job_id,
        attempt=attempt,
        to=JobState.FAILED,
        origins=(JobState.RUNNING,),
        outcomes=tuple(outcomes),
        error=error,
    )


def put_back(job_id: UUID, attempt: int, stage: Stage, *, due_in_s: float = 0, reason: str | None = None) -> Move:
    """Return a job to its queue: at once when the worker stops, later with a reason when the stage is tried again."""
    waiting = Outcome(stage=stage, state=RunState.PENDING, reason=reason, failed_try=reason is not None)
    return Move(
        job_id=job_id,
        attempt=attempt,
        to=JobState.QUEUED,
        origins=(JobState.RUNNING,),
        outcomes=(waiting,),
        due_in_s=due_in_s,
    )


def lose_lease(job_id: UUID, attempt: int, stage: Stage) -> Move:
    """Return a job whose worker has not renewed its lease."""
    waiting = Outcome(stage=stage, state=RunState.PENDING, reason="the worker went away")
    return Move(
        job_id=job_id,
        attempt=attempt,
        to=JobState.QUEUED,
        origins=(JobState.RUNNING,),
        outcomes=(waiting,),
        lost=True,
    )


def give_up(job_id: UUID, attempt: int, stage: Stage, error: dict[str, Any]) -> Move:
    """End a job that has lost too many leases: it is likely to be what kills its workers."""
    failed = Outcome(stage=stage, state=RunState.FAILED, reason=error["detail"])
    return Move(
        job_id=job_id,
        attempt=attempt,
        to=JobState.FAILED,
        origins=(JobState.RUNNING,),
        outcomes=(failed,),
        lost=True,
        error=error,
    )


def cancel(job_id: UUID) -> Move:
    """End a job at its owner's wish, wherever it stands. Its worker notices at its next write."""
    return Move(job_id=job_id, to=JobState.CANCELED, origins=(JobState.QUEUED, JobState.RUNNING))


# The rows are locked in the order of their ids, so that two workers that speak of the same jobs cannot deadlock.
_MOVE_JOBS = text("""
    WITH moves AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(CAST(:moves AS jsonb)) AS m(
            job_id uuid, "to" text, origins jsonb, attempt int, stage text, claims boolean, served jsonb, worker text,
            lease_s float8, due_in_s float8, lost boolean, error jsonb)
    ), locked AS MATERIALIZED (
        SELECT id FROM jobs WHERE id IN (SELECT job_id FROM moves) ORDER BY id FOR UPDATE
    )
    UPDATE jobs SET
        state = m."to",
        attempt = jobs.attempt + m.claims::int,
        lost_leases = jobs.lost_leases + m.lost::int,
        stage = coalesce(m.stage, jobs.stage),
        worker = coalesce(m.worker, jobs.worker),
        lease_until = CASE WHEN m."to" = 'running' THEN now() + make_interval(secs => m.lease_s) END,
        due_at = CASE WHEN m."to" = 'queued' THEN now() + make_interval(secs => m.due_in_s) ELSE jobs.due_at END,
        hinted_at = CASE WHEN m."to" <> 'queued' THEN jobs.hinted_at WHEN m.due_in_s = 0 THEN now() END,
        started_at = CASE WHEN m."to" = 'running' THEN coalesce(jobs.started_at, now()) ELSE jobs.started_at END,
        finished_at = CASE WHEN m."to" IN ('succeeded', 'failed', 'canceled') THEN now() END,
        error = m.error
    FROM moves m JOIN locked ON locked.id = m.job_id
    WHERE jobs.id = m.job_id
        AND m.origins ? jobs.state
        AND (m.attempt IS NULL OR jobs.attempt = m.attempt)
        AND (m.served IS NULL OR (m.served ? jobs.stage AND jobs.due_at <= now()))
        AND (NOT m.lost OR jobs.lease_until < now())
    RETURNING jobs.id, jobs.attempt, jobs.state, jobs.stage, jobs.priority, jobs.due_at <= now() AS is_due
""")

_MOVE_RUNS = text("""
    UPDATE stage_runs SET
        state = o.state,
        failures = stage_runs.failures + o.failed_try::int,
        reason = o.reason,
        engine = coalesce(o.engine, stage_runs.engine),
        model = coalesce(o.model, stage_runs.model),
        result = o.result,
        run_ms = o.run_ms,
        batch_size = o.batch_size,
        ready_at = CASE WHEN o.state IN ('pending', 'running') THEN coalesce(stage_runs.ready_at, now())
                   ELSE stage_runs.ready_at END,
        started_at = CASE WHEN o.started_ms_ago IS NOT NULL THEN now() - make_interval(secs => o.started_ms_ago / 1000)
                     WHEN o.state = 'running' THEN now()
                     WHEN o.state = 'pending' THEN NULL
                     ELSE stage_runs.started_at END,
        finished_at = CASE WHEN o.state IN ('succeeded', 'failed', 'skipped') THEN now() END
    FROM jsonb_to_recordset(CAST(:outcomes AS jsonb)) AS o(
        job_id uuid, stage text, state text, engine text, model text, result jsonb, reason text, run_ms float8,
        started_ms_ago float8, batch_size int, failed_try boolean)
    WHERE stage_runs.job_id = o.job_id AND stage_runs.stage = o.stage
""")

_CLOSE_RUNS = text("""
    UPDATE stage_runs SET state = 'canceled', finished_at = now()
    WHERE job_id = ANY(:ids) AND state IN ('pending', 'running')
""")


def move(session: Session, moves: Sequence[Move]) -> list[Moved | None]:
    """Make the moves that may be made, and say of each what came of it: the job as it stands now, or None.

    None means that the job is not (any more) in a state, at a stage or under a claim that allows the move. The caller
    commits. Cost: two or three statements, however many the moves.
    """
    answers: list[Moved | None] = [None] * len(moves)
    waiting = list(range(len(moves)))
    while waiting:
        # A job moves at most once per statement; a second move of the same job sees what the first has made of it.
        first = {moves[index].job_id: index for index in reversed(waiting)}
        now = sorted(first.values())
        for index, moved in zip(now, _move_once(session, [moves[index] for index in now]), strict=True):
            answers[index] = moved
        waiting = [index for index in waiting if first[moves[index].job_id] != index]
    return answers


def _move_once(session: Session, moves: Sequence[Move]) -> list[Moved | None]:
    for wanted in moves:
        for origin in wanted.origins:
            assert wanted.to in TRANSITIONS[origin], f"{origin} -> {wanted.to} is no move"
    rows = session.execute(_MOVE_JOBS, {"moves": json.dumps([asdict(wanted) for wanted in moves], default=str)})
    made = {
        row.id: Moved(row.id, row.attempt, JobState(row.state), Stage(row.stage), Priority(row.priority), row.is_due)
        for row in rows
    }
    outcomes = [
        {"job_id": str(wanted.job_id), **asdict(outcome)}
        for wanted in moves
        if wanted.job_id in made
        for outcome in _outcomes(wanted, made[wanted.job_id])
    ]
    if outcomes:
        session.execute(_MOVE_RUNS, {"outcomes": json.dumps(outcomes)})
    ended = [moved.job_id for moved in made.values() if moved.state in (JobState.FAILED, JobState.CANCELED)]
    if ended:
        session.execute(_CLOSE_RUNS, {"ids": ended})
    return [made.get(wanted.job_id) for wanted in moves]


def _outcomes(wanted: Move, moved: Moved) -> tuple[Outcome, ...]:
    """The runs that change with a job; a claim learns only from the database which stage it is for."""
    return (Outcome(stage=moved.stage, state=RunState.RUNNING),) if wanted.claims else wanted.outcomes
