"""The one checker: what must hold of a stack once all has settled, whatever was broken before.

It reads the rows, the history that triggers have kept, the store's listing, the books of callers, engines and
receivers. It changes nothing.
"""

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import httpx
import psycopg

from tests.fault.book import Promise
from tests.fault.world import World
from voxqueue.errors import VoxqueueError
from voxqueue.jobs.states import OPEN_STATES, TRANSITIONS, JobState
from voxqueue.stages import Stage
from voxqueue.webhooks.signing import message_id

_TERMINAL = ("succeeded", "failed", "canceled")
_PRIORITIES = ("", "\x06\x163", "\x06\x166")  # how the lists of one queue are named
_MOST = 10  # findings of one kind that are worth reading

Row = tuple[Any, ...]


def check(world: World) -> list[str]:
    """What does not hold, in words; nothing means that all is well."""
    with world.points.connect() as database:
        checks = (
            _ends(world, database),
            _histories(world, database),
            _results(world, database),
            _orphans(world, database),
            _repeated(world, database),
            _leftovers(world, database),
            _told(world, database),
            _api(world),
        )
        return [finding for one in checks for finding in list(one)[:_MOST]]


def _ends(world: World, database: psycopg.Connection[Any]) -> Iterator[str]:
    """Every 202 is a job in the state that it should end in, and no job is still open."""
    states = {
        str(job_id): (state, error) for job_id, state, error in _rows(database, "SELECT id, state, error FROM jobs")
    }
    for promise in world.book.promises.values():
        if promise.job_id not in states:
            yield f"lost: {_name(promise)} was promised and is not there"
        elif (state := states[promise.job_id][0]) != promise.ends:
            yield f"lost: {_name(promise)} is {state}, not {promise.ends}: {states[promise.job_id][1]}"
    for job_id, (state, _) in states.items():
        if state in OPEN_STATES and job_id not in world.book.promises:
            yield f"lost: job {job_id}, which was never answered, is still {state}"
    for job_id in world.book.deleted & states.keys():
        yield f"deleted job {job_id} is still there"
    yield from world.book.wrong


def _histories(world: World, database: psycopg.Connection[Any]) -> Iterator[str]:
    """Only legal moves, each job terminal once, each stage's result written once and never changed."""
    ends: Counter[str] = Counter()
    results: Counter[tuple[str, str]] = Counter()
    query = "SELECT job_id, stage, before, after FROM fault.history ORDER BY position"
    for job_id, stage, before, after in _rows(database, query):
        if stage is None:
            if JobState(after) not in TRANSITIONS[JobState(before)]:
                yield f"job {job_id} went from {before} to {after}"
            ends[job_id] += after in _TERMINAL
        else:
            results[job_id, stage] += 1
    yield from (f"duplicated: job {job_id} ended {times} times" for job_id, times in ends.items() if times > 1)
    for (job_id, stage), times in results.items():
        if times > 1:
            yield f"duplicated: the result of {stage} of job {job_id} was written {times} times"


def _results(world: World, database: psycopg.Connection[Any]) -> Iterator[str]:
    """A job that succeeded has every result; its speech is there, once, and is what the row says."""
    query = """
        SELECT jobs.id, stage_runs.stage, stage_runs.state, result FROM jobs JOIN stage_runs ON job_id = jobs.id
        WHERE jobs.state = 'succeeded'"""
    for job_id, stage, state, result in _rows(database, query):
        if state == "skipped":
            continue
        if state != "succeeded" or result is None:
            yield f"lost: job {job_id} succeeded without the result of {stage}"
        elif stage == Stage.TTS and (trouble := _trouble(world, result)):
            yield f"lost: the speech of job {job_id} {trouble}"
    speeches = Counter(one.key.split("/")[1].rpartition("-")[0] for one in world.blobs.list("speech/"))
    yield from (f"duplicated: job {job_id} has {times} speeches" for job_id, times in speeches.items() if times > 1)


def _trouble(world: World, result: dict[str, Any]) -> str | None:
    if result["key"] in world.sound:
        return None
    try:
        found = world.blobs.get(result["key"])
    except VoxqueueError as error:
        return f"cannot be read: {error}"
    if len(found) != result["size"] or sha256(found).hexdigest() != result["sha256"]:
        return "is not what the row says"
    world.sound.add(result["key"])
    return None


def _orphans(world: World, database: psycopg.Connection[Any]) -> Iterator[str]:
    """Every blob has a row, every row its blob, every note its job."""
    known = {key for (key,) in _rows(database, "SELECT key FROM notes")}
    known |= {
        key
        for (key,) in _rows(
            database, "SELECT result->>'key' FROM stage_runs WHERE stage = 'tts' AND result IS NOT NULL"
        )
    }
    there = {one.key for one in world.blobs.list()}
    yield from (f"orphan: blob {key} has no row" for key in sorted(there - known))
    yield from (f"lost: blob {key} is gone" for key in sorted(known - there))
    yield from (
        f"orphan: note {note_id} has no job"
        for (note_id,) in _rows(
            database, "SELECT id FROM notes WHERE id NOT IN (SELECT note_id FROM jobs WHERE note_id IS NOT NULL)"
        )
    )
    yield from (
        f"orphan: {key} is doomed and still there" for (key,) in _rows(database, "SELECT key FROM doomed_blobs")
    )


def _repeated(world: World, database: psycopg.Connection[Any]) -> Iterator[str]:
    """No engine was asked for a result that was already written."""
    query = """
        SELECT run.job_id, run.stage, extract(epoch FROM written.at),
            CASE run.stage WHEN 'tts' THEN coalesce(said.result->>'text', jobs.text) ELSE run.result->>'text' END
        FROM stage_runs run JOIN jobs ON jobs.id = run.job_id
        JOIN (SELECT job_id, stage, min(at) AS at FROM fault.history WHERE after = 'succeeded' GROUP BY 1, 2) written
            ON written.job_id = run.job_id AND written.stage = run.stage
        LEFT JOIN stage_runs said ON said.job_id = run.job_id AND said.stage = 'llm'
        WHERE run.state = 'succeeded'"""
    asked: dict[tuple[Stage, str], list[float]] = {}
    for call in world.hooks.calls():
        if call.pid not in world.frozen:
            asked.setdefault((call.stage, call.key), []).append(call.at)
    owners: dict[tuple[Stage, str], list[float]] = {}
    for _, stage, written_at, key in _rows(database, query):
        owners.setdefault((Stage(stage), key), []).append(float(written_at))
    for (stage, key), written in owners.items():
        # Several jobs may have asked the same; then it may be asked until the last of them has its result.
        last = max(written)
        if late := [at - last for at in asked.get((stage, key), ()) if at > last]:
            yield f"repeated: {stage} was asked {key!r} again {late[0]:.3f} s after its result was written"


def _leftovers(world: World, database: psycopg.Connection[Any]) -> Iterator[str]:
    """Nothing waits any more: no lease, no hint, no reservation, no delivery."""
    [(leases,)] = _rows(database, "SELECT count(*) FROM jobs WHERE lease_until IS NOT NULL")
    if leases:
        yield f"{leases} leases are left"
    [(reserved,)] = _rows(
        database, "SELECT count(*) FROM idempotency_keys WHERE job_id IS NULL AND reserved_until < now()"
    )
    if reserved:
        yield f"{reserved} idempotency keys are reserved for nobody"
    for stage in Stage:
        for priority in _PRIORITIES:
            if left := world.redis_client.llen(f"{stage}{priority}"):
                yield f"{left} hints wait for {stage}"


_FACTS = """
    SELECT DISTINCT job_id, 'job.started', NULL::text FROM fault.history WHERE stage IS NULL AND after = 'running'
    UNION ALL SELECT job_id, 'job.stage_completed', stage FROM fault.history WHERE stage IS NOT NULL
    UNION ALL SELECT job_id, 'job.' || after, NULL FROM fault.history
        WHERE stage IS NULL AND after IN ('succeeded', 'failed', 'canceled')
"""
_EVENTS = """
    SELECT id, job_id, type, CASE type WHEN 'job.stage_completed' THEN data->>'stage' END FROM events
    WHERE job_id IS NOT NULL
"""


def _told(world: World, database: psycopg.Connection[Any]) -> Iterator[str]:
    """Each fact about a job is one event, and each event has reached both its receivers, signed, under one id."""
    facts = Counter((str(job_id), kind, stage) for job_id, kind, stage in _rows(database, _FACTS))
    ids: dict[tuple[str, str, str | None], list[str]] = {}
    for event_id, job_id, kind, stage in _rows(database, _EVENTS):
        ids.setdefault((str(job_id), kind, stage), []).append(message_id(event_id))
    for (job_id, kind, stage), times in facts.items():
        if len(found := ids.get((job_id, kind, stage), [])) != times:
            word = "lost" if len(found) < times else "duplicated"
            yield f"{word}: {' '.join(filter(None, (kind, stage)))} of job {job_id} is {len(found)} events"
    yield from (f"duplicated: {kind} of job {job_id} is no fact" for job_id, kind, stage in ids.keys() - facts.keys())
    heard = world.listener.heard()
    yield from world.listener.unsigned
    for (job_id, kind, _), found in ids.items():
        for message in found:
            if missing := world.listener.paths - heard.pop(message, set()):
                yield f"lost: {kind} of job {job_id} was not told to {', '.join(sorted(missing))}"
    yield from (f"duplicated: {message} was told and is no event" for message in heard)
    for state, number in _rows(
        database, "SELECT state, count(*) FROM deliveries WHERE state <> 'succeeded' GROUP BY 1"
    ):
        yield f"{number} deliveries are {state}"


def _api(world: World) -> Iterator[str]:
    """The API answers, and shows what is there."""
    try:
        for path in ("/livez", "/readyz", "/api/ready"):
            if (answer := world.book.get(path)).status_code != 200:
                yield f"{path} answers {answer.status_code}: {answer.text[:300]}"
        for promise in list(world.book.promises.values())[-3:]:
            answer = world.book.get(f"/v1/jobs/{promise.job_id}")
            if answer.status_code != 200 or answer.json()["state"] != promise.ends:
                yield f"the API does not show {_name(promise)} as {promise.ends}: {answer.text[:300]}"
    except httpx.TransportError as error:
        yield f"the API does not answer: {error}"


def _rows(database: psycopg.Connection[Any], query: str) -> list[Row]:
    return database.execute(query.encode()).fetchall()


def _name(promise: Promise) -> str:
    return f"{promise.kind} {promise.job_id}"
