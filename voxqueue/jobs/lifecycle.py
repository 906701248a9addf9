"""Moves jobs from state to state. `move` is the only writer of a job's and a stage run's `state`.

The same statement writes the events that somebody is to be told of, and to whom they are owed (the outbox).

A move is a value that says what somebody wants; whether it came about is the answer. Everything a worker wants carries
the attempt that it holds (the fencing token), so whoever lost its lease changes nothing any more. All times are the
database's.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
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

    `run_ms` is the model call's own time, `started_ms_ago` how long before now that call began. `ms_ago` is how long
    before now this came about: that the stage's work ended, or that it could begin.
    """

    stage: Stage | None
    state: RunState
    engine: str | None = None
    model: str | None = None
    result: dict[str, Any] | None = None
    reason: str | None = None
    run_ms: float | None = None
    started_ms_ago: float | None = None
    ms_ago: float = 0
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
    stands at, `lost_leases` the workers that went away while they were at the job, `waited_s` the seconds since that
    stage could begin. `traceparent` is the span that it was submitted in.
    """

    id: UUID
    attempt: int
    kind: Kind
    stage: Stage
    priority: Priority
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
    waited_s: float
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A move that came about: the job as it stands now.

    `is_due`: not one that waits for a later time. `owes`: somebody is to be told by webhook. `age_s`: seconds since
    its submission.
    """

    job_id: UUID
    attempt: int
    state: JobState
    stage: Stage
    priority: Priority
    is_due: bool
    claimed: ClaimedJob | None
    owes: bool
    kind: Kind
    age_s: float = field(compare=False)


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
    begun = Outcome(stage=stage, state=RunState.RUNNING, ms_ago=done.ms_ago)
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
    waiting = Outcome(stage=stage, state=RunState.PENDING, ms_ago=done.ms_ago)
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


_MOVE = files(__package__).joinpath("move.sql").read_text("utf-8")


def move(connection: Connection, moves: Sequence[Move]) -> list[Moved | None]:
    """Make the moves that may be made, and say of each what came of it: the job as it stands now, or None.

    None means that the job is not (any more) in a state, at a stage or under a claim that allows the move. The caller
    commits. Cost: one statement, however many the moves.
    """
    answers: list[Moved | None] = [None] * len(moves)
    for indices in rounds(moves):
        made = _move_once(connection, [moves[index] for index in indices])
        for index in indices:
            answers[index] = made.get(moves[index].job_id)
    return answers


def rounds(moves: Sequence[Move]) -> list[list[int]]:
    """The indices of the moves, statement by statement: a job moves at most once in each, and its second move sees what
    the first has made of it."""
    found: list[list[int]] = []
    before: Counter[UUID] = Counter()
    for index, wanted in enumerate(moves):
        if before[wanted.job_id] == len(found):
            found.append([])
        found[before[wanted.job_id]].append(index)
        before[wanted.job_id] += 1
    return found


def _move_once(connection: Connection, moves: Sequence[Move]) -> dict[UUID, Moved]:
    for wanted in moves:
        for origin in wanted.origins:
            assert wanted.to in TRANSITIONS[origin], f"{origin} -> {wanted.to} is no move"
    parameters = {"moves": _document(moves), "ids": [wanted.job_id for wanted in moves]}
    rows = connection.exec_driver_sql(_MOVE, parameters)
    return {moved.job_id: moved for moved in map(_moved, rows)}


def _moved(row: Any) -> Moved:
    job_id, attempt, state, stage, priority, is_due, claims, kind, age_s, owes, *of_claim = row
    claimed = None
    if claims:
        *wishes, lost_leases, traceparent, results, failures, waited_s = of_claim
        key, seconds, words, language, instructions, voice, audio_format, options = wishes
        claimed = ClaimedJob(
            id=job_id,
            attempt=attempt,
            kind=Kind(kind),
            stage=Stage(stage),
            priority=Priority(priority),
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
            waited_s=waited_s,
            traceparent=traceparent,
        )
    where = JobState(state), Stage(stage), Priority(priority)
    return Moved(job_id, attempt, *where, is_due, claimed, owes, Kind(kind), age_s)


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
