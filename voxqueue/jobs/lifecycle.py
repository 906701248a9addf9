"""Moves jobs from state to state. `move` is the only writer of a job's and a stage run's `state`.

The same statement writes the events that somebody is to be told of, and to whom they are owed (the outbox).

A move is a value that says what somebody wants; whether it came about is the answer. Everything a worker wants carries
the attempt that it holds (the fencing token), so whoever lost its lease changes nothing any more. All times are the
database's.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from voxqueue.jobs.kinds import Kind, Priority
from voxqueue.jobs.options import Options
from voxqueue.jobs.states import TRANSITIONS, JobState, RunState
from voxqueue.stages import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one stage of a job ended, or that it begins. Without a stage, it is the one where the job stands then.

    `run_ms` is the model call's own time, `started_ms_ago` how long before now that call began.
    """

    stage: Stage | None
    state: RunState
    engine: str | None = None
    model: str | None = None
    result: dict[str, Any] | None = None
    reason: str | None = None
    run_ms: float | None = None
    started_ms_ago: float | None = None
    batch_size: int | None = None
    degradations: tuple[str, ...] = ()
    failed_try: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What somebody wants of a job. Make one with the functions below, which name every case there is.

    `attempt`, `at` and `tenant` are what its claim, its stage and its owner must be now, `stage` is where it stands
    afterwards. `anew` forgets that it has ended before.
    """

    job_id: UUID
    to: JobState
    attempt: int | None = None
    origins: tuple[JobState, ...] = (JobState.RUNNING,)
    at: Stage | None = None
    stage: Stage | None = None
    outcomes: tuple[Outcome, ...] = ()
    claims: bool = False
    served: tuple[Stage, ...] | None = None
    worker: str | None = None
    lease_s: float | None = None
    due_in_s: float = 0
    lost: bool = False
    anew: bool = False
    tenant: str | None = None
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """What a worker needs to know of a job that it has claimed.

    `results` has those of the stages already committed. `failures` counts the failed tries of the stage that the job
    stands at, `lost_leases` the workers that went away while they were at the job.
    """

    id: UUID
    attempt: int
    kind: Kind
    stage: Stage
    note_key: str | None
    note_seconds: float | None
    text: str | None
    language: str | None
    instructions: str | None
    voice: str | None
    audio_format: str
    options: Options
    results: dict[Stage, dict[str, Any]]
    failures: int
    lost_leases: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A move that came about: the job as it stands now.

    `is_due`: not one that waits for a later time. `owes`: somebody is to be told by webhook.
    """

    job_id: UUID
    attempt: int
    state: JobState
    stage: Stage
    priority: Priority
    is_due: bool
    claimed: ClaimedJob | None
    owes: bool


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


def proceed(job_id: UUID, attempt: int, done: Outcome, stage: Stage, *, lease_s: float) -> Move:
    """Commit a stage and go on with the next one under the same claim."""
    begun = Outcome(stage=stage, state=RunState.RUNNING)
    return Move(
        job_id=job_id,
        attempt=attempt,
        to=JobState.RUNNING,
        at=done.stage,
        stage=stage,
        outcomes=(done, begun),
        lease_s=lease_s,
    )


def begin(job_id: UUID, attempt: int, stage: Stage, *, lease_s: float) -> Move:
    """A job that has lost a worker before begins with its stage now; until then, it is not to blame for another one."""
    begun = Outcome(stage=stage, state=RunState.RUNNING, started_ms_ago=0)
    return Move(job_id=job_id, attempt=attempt, to=JobState.RUNNING, at=stage, outcomes=(begun,), lease_s=lease_s)


def hand_over(job_id: UUID, attempt: int, done: Outcome, stage: Stage) -> Move:
    """Commit a stage and put the job where the next one is served."""
    waiting = Outcome(stage=stage, state=RunState.PENDING)
    return Move(
        job_id=job_id, attempt=attempt, to=JobState.QUEUED, at=done.stage, stage=stage, outcomes=(done, waiting)
    )


def succeed(job_id: UUID, attempt: int, done: Outcome, later: tuple[Outcome, ...] = ()) -> Move:
    """Commit the stage where the job stands, what is to be said of later ones, and with it the job."""
    return Move(job_id=job_id, attempt=attempt, to=JobState.SUCCEEDED, at=done.stage, outcomes=(done, *later))


def fail(job_id: UUID, attempt: int, failed: Outcome, error: dict[str, Any]) -> Move:
    """End the job with an error, a problem document's members."""
    return Move(job_id=job_id, attempt=attempt, to=JobState.FAILED, at=failed.stage, outcomes=(failed,), error=error)


def put_back(job_id: UUID, attempt: int) -> Move:
    """Return a job to the queue of the stage where it stands, at once: nothing is wrong with it."""
    waiting = Outcome(stage=None, state=RunState.PENDING)
    return Move(job_id=job_id, attempt=attempt, to=JobState.QUEUED, outcomes=(waiting,))


def try_again(job_id: UUID, attempt: int, stage: Stage, reason: str, *, due_in_s: float, counts: bool) -> Move:
    """Return a job to its queue for later. `counts`: as a failed try of the stage, rather than an outage around it."""
    waiting = Outcome(stage=stage, state=RunState.PENDING, reason=reason, failed_try=counts)
    return Move(job_id=job_id, attempt=attempt, to=JobState.QUEUED, at=stage, outcomes=(waiting,), due_in_s=due_in_s)


def lose_lease(job_id: UUID, attempt: int) -> Move:
    """Return a job whose worker has not renewed its lease."""
    waiting = Outcome(stage=None, state=RunState.PENDING, reason="the worker went away")
    return Move(job_id=job_id, attempt=attempt, to=JobState.QUEUED, outcomes=(waiting,), lost=True)


def give_up(job_id: UUID, attempt: int, error: dict[str, Any]) -> Move:
    """End a job that has lost too many leases: it is likely to be what kills its workers."""
    failed = Outcome(stage=None, state=RunState.FAILED, reason=error["detail"])
    return Move(job_id=job_id, attempt=attempt, to=JobState.FAILED, outcomes=(failed,), lost=True, error=error)


def expire(job_id: UUID, attempt: int, error: dict[str, Any]) -> Move:
    """End a job that waits and has waited for too long."""
    failed = Outcome(stage=None, state=RunState.FAILED, reason=error["detail"])
    return Move(
        job_id=job_id,
        attempt=attempt,
        to=JobState.FAILED,
        origins=(JobState.QUEUED,),
        outcomes=(failed,),
        error=error,
    )


def cancel(job_id: UUID, tenant: str) -> Move:
    """End a job at its owner's wish, wherever it stands. Its worker notices at its next write."""
    return Move(job_id=job_id, tenant=tenant, to=JobState.CANCELED, origins=(JobState.QUEUED, JobState.RUNNING))


def retry(job_id: UUID, tenant: str) -> Move:
    """Queue a job that has failed or been canceled again, at its owner's wish, at the stage where it stood.

    What it has committed stays; tries and lost leases are counted anew.
    """
    return Move(
        job_id=job_id, tenant=tenant, to=JobState.QUEUED, origins=(JobState.FAILED, JobState.CANCELED), anew=True
    )


# One statement, so that a move costs one round trip and cannot be half made. The rows are locked in the order of their
# ids: two workers that speak of the same jobs cannot deadlock. The ids are given beside the moves because only of an
# array does the planner know that it is short.
_MOVE = """
WITH moves AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(moves)s::jsonb) AS m(
        job_id uuid, "to" text, origins jsonb, attempt int, at text, stage text, outcomes jsonb, claims boolean,
        served jsonb, worker text, lease_s float8, due_in_s float8, lost boolean, anew boolean,
        tenant text, error jsonb)
), locked AS MATERIALIZED (
    SELECT id FROM jobs WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR UPDATE
), moved AS (
    UPDATE jobs SET
        state = m."to",
        attempt = jobs.attempt + coalesce(m.claims, false)::int,
        lost_leases = CASE
            WHEN m.anew THEN 0
            -- Who had not begun cannot be what took the worker down.
            WHEN m.lost AND EXISTS (SELECT FROM stage_runs WHERE job_id = jobs.id AND stage_runs.stage = jobs.stage
                AND stage_runs.started_at IS NOT NULL) THEN jobs.lost_leases + 1
            ELSE jobs.lost_leases END,
        stage = coalesce(m.stage, jobs.stage),
        worker = coalesce(m.worker, jobs.worker),
        lease_until = CASE WHEN m."to" = 'running' THEN now() + make_interval(secs => m.lease_s) END,
        due_at = CASE WHEN m."to" = 'queued' THEN now() + make_interval(secs => m.due_in_s) ELSE jobs.due_at END,
        -- A hint belongs to the stage that it was sent for: one that goes on here has none.
        hinted_at = CASE WHEN m."to" = 'queued' AND m.due_in_s = 0 THEN now() WHEN m.claims THEN jobs.hinted_at END,
        started_at = CASE WHEN m."to" = 'running' THEN coalesce(jobs.started_at, now())
                     WHEN NOT coalesce(m.anew, false) THEN jobs.started_at END,
        finished_at = CASE WHEN m."to" IN ('succeeded', 'failed', 'canceled') THEN now() END,
        error = m.error
    FROM moves m JOIN locked ON locked.id = m.job_id
    WHERE jobs.id = m.job_id
        AND jobs.id = ANY(%(ids)s::uuid[])
        AND m.origins ? jobs.state
        AND (m.attempt IS NULL OR jobs.attempt = m.attempt)
        AND (m.at IS NULL OR jobs.stage = m.at)
        AND (m.tenant IS NULL OR jobs.tenant = m.tenant)
        AND (m.served IS NULL OR (m.served ? jobs.stage AND jobs.due_at <= now()))
        AND (m.lost IS NULL OR jobs.lease_until < now())
    RETURNING jobs.*, m.claims, m.anew, m.outcomes
), outcomes AS (
    SELECT moved.id AS job_id, coalesce(o.stage, moved.stage) AS stage, o.state, o.engine, o.model, o.result, o.reason,
        o.run_ms, o.started_ms_ago, o.batch_size, o.degradations, o.failed_try, moved.lost_leases > 0 AS suspect
    FROM moved CROSS JOIN LATERAL jsonb_to_recordset(moved.outcomes) AS o(
        stage text, state text, engine text, model text, result jsonb, reason text, run_ms float8,
        started_ms_ago float8, batch_size int, degradations jsonb, failed_try boolean)
    UNION ALL  -- which stage a claim is for is known only now
    SELECT id, stage, 'running', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, lost_leases > 0
    FROM moved WHERE claims
), ended AS (
    UPDATE stage_runs SET
        state = o.state,
        failures = stage_runs.failures + coalesce(o.failed_try, false)::int,
        reason = o.reason,
        engine = coalesce(o.engine, stage_runs.engine),
        model = coalesce(o.model, stage_runs.model),
        result = o.result,
        run_ms = o.run_ms,
        batch_size = o.batch_size,
        degradations = coalesce(o.degradations, '[]'),
        progress = CASE WHEN o.state IN ('pending', 'running') THEN 0 ELSE stage_runs.progress END,
        ready_at = CASE WHEN o.state IN ('pending', 'running') THEN coalesce(stage_runs.ready_at, now())
                   ELSE stage_runs.ready_at END,
        started_at = CASE WHEN o.started_ms_ago IS NOT NULL THEN now() - make_interval(secs => o.started_ms_ago / 1000)
                     WHEN o.state = 'running' AND NOT o.suspect THEN now()
                     WHEN o.state IN ('running', 'pending') THEN NULL  -- a suspect says itself when it begins
                     ELSE stage_runs.started_at END,
        finished_at = CASE WHEN o.state IN ('succeeded', 'failed', 'skipped') THEN now() END
    FROM outcomes o
    WHERE stage_runs.job_id = ANY(%(ids)s::uuid[]) AND stage_runs.job_id = o.job_id AND stage_runs.stage = o.stage
        AND stage_runs.state <> 'succeeded'  -- what is committed stays
), closed AS (  -- what an ended job will not come to any more
    UPDATE stage_runs SET state = 'canceled', finished_at = now()
    FROM moved
    WHERE stage_runs.job_id = ANY(%(ids)s::uuid[]) AND stage_runs.job_id = moved.id
        AND moved.state IN ('failed', 'canceled') AND stage_runs.state IN ('pending', 'running')
        AND NOT EXISTS (SELECT FROM outcomes o WHERE o.job_id = moved.id AND o.stage = stage_runs.stage)
), begun_anew AS (
    UPDATE stage_runs SET state = 'pending', failures = 0, reason = NULL, engine = NULL, model = NULL, run_ms = NULL,
        batch_size = NULL, degradations = '[]', progress = 0, started_at = NULL, finished_at = NULL,
        ready_at = CASE WHEN stage_runs.stage = moved.stage THEN now() END
    FROM moved
    WHERE stage_runs.job_id = ANY(%(ids)s::uuid[]) AND stage_runs.job_id = moved.id
        AND moved.anew AND stage_runs.state <> 'succeeded'
), facts AS (
    SELECT id AS job_id, 'job.started' AS type, stage, 1 AS place FROM moved WHERE claims AND started_at = now()
    UNION ALL SELECT job_id, 'job.stage_completed', stage, 2 FROM outcomes WHERE state = 'succeeded'
    UNION ALL SELECT id, 'job.' || state, stage, 3 FROM moved WHERE state IN ('succeeded', 'failed', 'canceled')
), owed AS (
    SELECT facts.*, receiver.endpoint_id, receiver.url
    FROM facts JOIN moved ON moved.id = facts.job_id CROSS JOIN LATERAL (
        SELECT NULL::uuid AS endpoint_id, moved.webhook_url AS url WHERE moved.webhook_events ? facts.type
        UNION ALL
        SELECT id, url FROM webhook_endpoints
        WHERE webhook_endpoints.tenant = moved.tenant AND enabled AND events ? facts.type
    ) AS receiver
), told AS (  -- what nobody is to be told of is no event
    INSERT INTO events (tenant, job_id, type, data)
    SELECT moved.tenant, moved.id, fact.type,
        jsonb_build_object('job_id', moved.id, 'kind', moved.kind, 'state', moved.state, 'stage', fact.stage,
            'attempt', moved.attempt, 'metadata', moved.metadata)
        || CASE WHEN moved.error IS NULL THEN '{}' ELSE jsonb_build_object('error', moved.error) END
    FROM (SELECT DISTINCT job_id, type, stage, place FROM owed) AS fact JOIN moved ON moved.id = fact.job_id
    ORDER BY moved.id, fact.place
    RETURNING id, job_id, type
), deliveries_made AS (
    INSERT INTO deliveries (event_id, endpoint_id, url)
    SELECT told.id, owed.endpoint_id, owed.url FROM owed JOIN told USING (job_id, type)
)
SELECT moved.id, moved.attempt, moved.state, moved.stage, moved.priority, moved.due_at <= now(), moved.claims,
    moved.kind, notes.key, notes.seconds, moved.text, moved.language, moved.instructions, moved.voice,
    moved.audio_format, moved.options, moved.lost_leases,
    CASE WHEN moved.claims THEN (
        SELECT jsonb_object_agg(stage, result) FROM stage_runs WHERE job_id = moved.id AND state = 'succeeded') END,
    CASE WHEN moved.claims THEN (
        SELECT failures FROM stage_runs WHERE job_id = moved.id AND stage = moved.stage) END,
    EXISTS (SELECT FROM owed WHERE owed.job_id = moved.id)
FROM moved LEFT JOIN notes ON notes.id = moved.note_id AND moved.claims
"""


def move(connection: Connection, moves: Sequence[Move]) -> list[Moved | None]:
    """Make the moves that may be made, and say of each what came of it: the job as it stands now, or None.

    None means that the job is not (any more) in a state, at a stage or under a claim that allows the move. The caller
    commits. Cost: one statement, however many the moves.
    """
    answers: list[Moved | None] = [None] * len(moves)
    waiting = list(range(len(moves)))
    while waiting:
        # A job moves at most once per statement; a second move of the same job sees what the first has made of it.
        first = {moves[index].job_id: index for index in reversed(waiting)}
        now = sorted(first.values())
        made = _move_once(connection, [moves[index] for index in now])
        for index in now:
            answers[index] = made.get(moves[index].job_id)
        waiting = [index for index in waiting if first[moves[index].job_id] != index]
    return answers


def _move_once(connection: Connection, moves: Sequence[Move]) -> dict[UUID, Moved]:
    for wanted in moves:
        for origin in wanted.origins:
            assert wanted.to in TRANSITIONS[origin], f"{origin} -> {wanted.to} is no move"
    parameters = {"moves": _document(moves), "ids": [wanted.job_id for wanted in moves]}
    rows = connection.exec_driver_sql(_MOVE, parameters)
    return {moved.job_id: moved for moved in map(_moved, rows)}


def _moved(row: Any) -> Moved:
    job_id, attempt, state, stage, priority, is_due, claims, kind, *wishes, lost_leases, results, failures, owes = row
    claimed = None
    if claims:
        key, seconds, words, language, instructions, voice, audio_format, options = wishes
        claimed = ClaimedJob(
            id=job_id,
            attempt=attempt,
            kind=Kind(kind),
            stage=Stage(stage),
            note_key=key,
            note_seconds=seconds,
            text=words,
            language=language,
            instructions=instructions,
            voice=voice,
            audio_format=audio_format,
            options=Options.from_json(options),
            results={Stage(name): result for name, result in (results or {}).items()},
            failures=failures,
            lost_leases=lost_leases,
        )
    return Moved(job_id, attempt, JobState(state), Stage(stage), Priority(priority), is_due, claimed, owes)


def _as_json(value: object) -> object:
    if isinstance(value, Move | Outcome):
        members = ((name, getattr(value, name)) for name in value.__slots__)
        return {name: member for name, member in members if member is not None and member is not False}
    return str(value)


def _document(moves: Sequence[Move]) -> str:
    """The moves as JSON that Postgres takes: an engine may yield NUL or half a surrogate pair, which it refuses."""
    document = json.dumps(moves, default=_as_json)
    if "\\u0000" in document or "\\ud" in document:
        document = json.dumps(_storable(json.loads(document)))
    return document


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "").encode(errors="replace").decode()
    if isinstance(value, dict):
        return {name: _storable(member) for name, member in value.items()}
    return [_storable(member) for member in value] if isinstance(value, list) else value
