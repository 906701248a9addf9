"""How the blobs of notes and jobs are called, and which of them a row speaks of. Knows no store."""

import re
from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Connection, text

from voxqueue.jobs.repository import Claim

FOLDERS = ("notes/", "speech/")
"""Where all of our blobs lie."""

_ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NOTE = re.compile(rf"notes/{_ID}\.[a-z0-9]+")
_SPEECH = re.compile(rf"speech/({_ID})-(\d{{1,9}})\.[a-z0-9]+")


def note_key(note_id: UUID, extension: str) -> str:
    return f"notes/{note_id}.{extension}"


def speech_key(job_id: UUID, attempt: int, extension: str) -> str:
    """The attempt keeps a worker that has lost its lease from overwriting its successor's speech."""
    return f"speech/{job_id}-{attempt}.{extension}"


def is_ours(key: str) -> bool:
    """Whether a key is one that we give. Whatever else lies in the store belongs to somebody else."""
    return bool(_NOTE.fullmatch(key) or _SPEECH.fullmatch(key))


_SPOKEN_OF = text("""
    SELECT key FROM notes WHERE key = ANY(CAST(:keys AS text[]))
    UNION ALL
    SELECT key FROM doomed_blobs WHERE key = ANY(CAST(:keys AS text[]))
    UNION ALL
    SELECT result ->> 'key' FROM stage_runs
    WHERE job_id = ANY(CAST(:jobs AS uuid[])) AND stage = 'tts' AND result IS NOT NULL
""")
_HELD = text("SELECT id, attempt FROM jobs WHERE id = ANY(CAST(:jobs AS uuid[])) AND state = 'running'")


def unknown(connection: Connection, keys: Collection[str]) -> list[str]:
    """Those of our blobs that no row speaks of. What a claim that still holds has made counts as known."""
    claims = {key: (UUID(found[1]), int(found[2])) for key in keys if (found := _SPEECH.fullmatch(key))}
    jobs = list({job_id for job_id, _ in claims.values()})
    # First who holds a job, then what is written down: a claim that ends in between has written by then.
    held: set[Claim] = {(row.id, row.attempt) for row in connection.execute(_HELD, {"jobs": jobs})}
    known = set(connection.scalars(_SPOKEN_OF, {"keys": list(keys), "jobs": jobs}))
    return [key for key in keys if is_ours(key) and key not in known and claims.get(key) not in held]
