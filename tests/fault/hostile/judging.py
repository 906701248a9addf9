"""What must hold of an answer, of the log, and of what is stored, whatever was sent."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from api.bounded_http import WORDS
from tests.fault.hostile.shots import CANARY, Answer, Shot
from voxqueue.jobs.kinds import Kind
from voxqueue.storage import DiskStore

_REPORTS = ("/api/ready", "/readyz")  # they say 503 in words of their own
_BARE = (b"Invalid HTTP request received.", WORDS.encode())  # by the server itself, of what is no HTTP or has no end
_LARGEST_PROBLEM = 32_768  # besides the path, which it names


def faults(shot: Shot, answer: Answer | None) -> Iterator[str]:
    """What is wrong with an answer, in words."""
    if answer is None:
        if shot.end == "waits" and shot.http:
            yield "no answer"
        return
    if answer.status >= 500 and answer.status not in (503, 507):
        yield f"{answer.status}: {answer.body[:200]!r}"
    if answer.status < 300 and shot.invalid:
        yield f"{answer.status} for what the description does not allow: {shot.data[-200:]!r}"
    if answer.status < 300 and not shot.http:
        yield f"{answer.status} for what is no HTTP"
    if shot.statuses is not None and answer.status not in shot.statuses:
        yield f"{answer.status} is not in the description: {answer.body[:200]!r}"
    if answer.status >= 400 and not (answer.status == 503 and shot.target.startswith(_REPORTS)):
        yield from _problem_faults(shot, answer)


def _problem_faults(shot: Shot, answer: Answer) -> Iterator[str]:
    bare = answer.body.startswith(_BARE) or (shot.method == "HEAD" and answer.media_type == "text/plain")
    if answer.status == 400 and bare and shot.family != "described":
        return
    if answer.media_type != "application/problem+json":
        yield f"{answer.status} as {answer.media_type!r}: {answer.body[:200]!r}"
    if shot.method == "HEAD":
        return
    try:
        problem = json.loads(answer.body)
    except ValueError:
        yield f"{answer.status} is no JSON: {answer.body[:200]!r}"
        return
    if not (problem.get("type") and problem.get("title") and problem.get("status") == answer.status):
        yield f"{answer.status} lacks what a problem document has: {answer.body[:200]!r}"
    if len(answer.body) > _LARGEST_PROBLEM + 2 * len(shot.target):
        yield f"{answer.status} takes {len(answer.body):,} bytes to say so"


def log_faults(log: str, keys: Collection[str], told: Collection[str]) -> Iterator[str]:
    """What a log must not hold: keys, what was sent, and errors of ours.

    The lines about requests hold paths and queries, which are no place for either.
    """
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {"level": "error"}
        is_request = entry.get("logger") == "uvicorn.access"
        if entry.get("level") in ("error", "critical"):
            yield f"the log has an error: {line[:2_000]}"
        if CANARY in line:
            yield f"the log has the canary: {line[:500]}"
        if any(key in line for key in keys):
            yield f"the log has a key: {line[:200]}"
        if not is_request and (found := next((text for text in told if text in line or _escaped(text) in line), None)):
            yield f"the log has {found!r}: {line[:500]}"


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


def row_faults(database: psycopg.Connection[Any], blobs: Path, accepted: set[str], deleted: set[str]) -> Iterator[str]:
    """What is half made, lost, or left behind.

    Args:
        accepted: Ids of the jobs that a 202 has promised.
        deleted: Ids of those that were deleted since.
    """
    jobs = {str(job_id): Kind(kind) for job_id, kind in database.execute("SELECT id, kind FROM jobs")}
    yield from (f"job {job_id} was promised and is not there" for job_id in accepted - deleted - jobs.keys())
    yield from (f"job {job_id} was deleted and is there" for job_id in deleted & jobs.keys())
    runs = dict(
        database.execute("SELECT job_id, array_agg(stage::text ORDER BY position) FROM stage_runs GROUP BY job_id")
    )
    for job_id, kind in jobs.items():
        if runs.get(UUID(job_id)) != [stage.value for stage in kind.stages]:
            yield f"job {job_id} of kind {kind} has the stages {runs.get(UUID(job_id))}"
    known = {key for (key,) in database.execute(_KEYS)}
    there = {blob.key for blob in DiskStore(blobs).list()}
    yield from (f"blob {key} has no row" for key in sorted(there - known))
    yield from (f"blob {key} is gone" for key in sorted(known - there))
    for query, what in _NONE_OF:
        [(number,)] = database.execute(query)
        if number:
            yield f"{number} {what}"


_KEYS = """
    SELECT key FROM notes UNION SELECT key FROM doomed_blobs
    UNION SELECT result->>'key' FROM stage_runs WHERE stage = 'tts' AND result IS NOT NULL"""
_NONE_OF: tuple[tuple[Any, str], ...] = (
    (
        "SELECT count(*) FROM notes WHERE id NOT IN (SELECT note_id FROM jobs WHERE note_id IS NOT NULL)",
        "notes have no job",
    ),
    ("SELECT count(*) FROM idempotency_keys WHERE job_id IS NULL", "idempotency keys are reserved for nobody"),
    (
        (
            "SELECT count(*) FROM webhook_endpoints one WHERE NOT EXISTS "
            "(SELECT FROM signing_secrets WHERE endpoint_id = one.id)"
        ),
        "endpoints have no secret",
    ),
    (
        (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        ),
        "transactions were left open",
    ),
)
