"""Makes a job of what a caller asks for. Knows the limits; nothing of HTTP."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from voxqueue.audio import AudioFormat
from voxqueue.errors import InvalidRequest
from voxqueue.jobs import repository
from voxqueue.jobs.kinds import Kind, Priority
from voxqueue.jobs.models import Job, Note
from voxqueue.jobs.repository import Hint
from voxqueue.settings import LimitsSettings

VOICE_CHARS = 200
METADATA_DEPTH = 32

Fault = tuple[str, str]
"""A field, and what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a caller asks for. `text` belongs to the kinds that start from one; `language` is one of `LANGUAGES`."""

    kind: Kind
    text: str | None = None
    language: str | None = None
    instructions: str | None = None
    voice: str | None = None
    audio_format: AudioFormat = AudioFormat.OGG
    metadata: dict[str, Any] = field(default_factory=dict)
    priority: Priority = Priority.NORMAL


def check(wishes: Wishes, limits: LimitsSettings) -> None:
    """Raise `InvalidRequest`, naming every field, if something is too long or cannot be stored."""
    faults = [
        *_text_faults("text", wishes.text, limits.text_chars),
        *_text_faults("instructions", wishes.instructions, limits.instructions_chars),
        *_text_faults("voice", wishes.voice, VOICE_CHARS),
        *_metadata_faults(wishes.metadata, limits.metadata_bytes),
    ]
    if wishes.text is not None and not wishes.text.strip():
        faults.append(("text", "is empty"))
    if faults:
        raise InvalidRequest.of(*faults)


def submit(session: Session, wishes: Wishes, note: Note | None = None) -> Job:
    """Add the job and its note. The caller commits, and then sends the hint."""
    job = Job(
        kind=wishes.kind,
        note=note,
        text=wishes.text,
        language=wishes.language,
        instructions=wishes.instructions,
        voice=wishes.voice,
        audio_format=wishes.audio_format.value,
        client_metadata=wishes.metadata,
        priority=wishes.priority,
    )
    repository.add(session, job)
    return job


def hint(job: Job) -> Hint:
    """What the queue is to be told of a job that was just made."""
    return Hint(job.id, job.stage, job.attempt, job.priority)


def _text_faults(name: str, value: str | None, longest: int) -> Iterator[Fault]:
    if value is None:
        return
    if len(value) > longest:
        yield name, f"has {len(value):,} characters, more than the {longest:,} allowed"
    if (trouble := _unstorable(value)) is not None:
        yield name, trouble


def _metadata_faults(metadata: dict[str, Any], most_bytes: int) -> Iterator[Fault]:
    layer: Iterable[Any] = [metadata]
    for _ in range(METADATA_DEPTH):
        layer = list(_contents(layer))
        if (trouble := next(filter(None, map(_unstorable, layer)), None)) is not None:
            yield "metadata", trouble
            return
        if not layer:
            break
    else:
        yield "metadata", f"is nested more than {METADATA_DEPTH} levels deep"
        return
    size = len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode())
    if size > most_bytes:
        yield "metadata", f"has {size:,} bytes as JSON, more than the {most_bytes:,} allowed"


def _contents(layer: Iterable[Any]) -> Iterator[Any]:
    """Everything that the objects and arrays of one level of a JSON value hold, keys included."""
    for value in layer:
        if isinstance(value, dict):
            yield from value.keys()
            yield from value.values()
        elif isinstance(value, list):
            yield from value


def _unstorable(value: Any) -> str | None:
    """Why Postgres could not keep this part of a JSON value."""
    if isinstance(value, float) and not math.isfinite(value):
        return "holds a number that JSON cannot express"
    if not isinstance(value, str):
        return None
    if "\0" in value:
        return "holds a NUL character"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "holds characters that are not valid Unicode"
    return None
