"""Makes a job of what a caller asks for. Knows the limits; nothing of HTTP."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from sqlalchemy.orm import Session

from voxqueue import tracing
from voxqueue.audio import AudioFormat
from voxqueue.errors import InvalidRequest
from voxqueue.jobs import repository
from voxqueue.jobs.kinds import Kind, Priority
from voxqueue.jobs.models import Job, Note
from voxqueue.jobs.options import Options
from voxqueue.jobs.repository import Hint
from voxqueue.keys.caller import Caller
from voxqueue.settings import LimitsSettings
from voxqueue.stages import Stage
from voxqueue.webhooks.addresses import InvalidAddress
from voxqueue.webhooks.events import TERMINAL_EVENTS

VOICE_CHARS = 200
JSON_DEPTH = 32

Fault = tuple[str, str]
"""A field, and what is wrong with it."""

# What one stage alone looks at. Where it is missing, nobody minds a value that is as usual: it changes nothing.
_FOR_ONE_STAGE: dict[Stage, tuple[str, ...]] = {Stage.LLM: ("instructions",), Stage.TTS: ("voice", "audio_format")}
_WITHOUT = {Stage.LLM: "has no reply written", Stage.TTS: "has nothing spoken"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a caller asks for. `text` belongs to the kinds that start from one; `language` is one of `LANGUAGES`."""

    kind: Kind
    text: str | None = None
    language: str | None = None
    instructions: str | None = None
    voice: str | None = None
    audio_format: AudioFormat = AudioFormat.OGG
    options: Options = field(default_factory=Options)
    metadata: dict[str, Any] = field(default_factory=dict)
    webhook_url: str | None = None
    webhook_events: list[str] | None = None
    priority: Priority = Priority.NORMAL


def check(
    wishes: Wishes,
    limits: LimitsSettings,
    knows_voice: Callable[[str], bool],
    check_address: Callable[[str], None],
) -> None:
    """Raise `InvalidRequest`, naming every field, if something is too long, cannot be stored or cannot be done.

    Args:
        wishes: What is asked for.
        limits: How long it may be.
        knows_voice: Whether some worker may have the voice of this name; asked only where one is to speak.
        check_address: Raises `InvalidAddress` for an address that nothing may be sent to.
    """
    options = wishes.options
    faults = [
        *_text_faults("text", wishes.text, limits.text_chars),
        *_text_faults("instructions", wishes.instructions, limits.instructions_chars),
        *_text_faults("prompt", options.prompt, limits.prompt_chars),
        *_text_faults("hotwords", options.hotwords, limits.prompt_chars),
        *(_text_faults("voice", wishes.voice, VOICE_CHARS) or _voice_faults(wishes, knows_voice)),
        *_json_faults("metadata", wishes.metadata, limits.metadata_bytes),
        *_schema_faults(wishes, limits.schema_bytes),
        *_webhook_faults(wishes, check_address),
        *_useless(wishes),
    ]
    if wishes.text is not None and not wishes.text.strip():
        faults.append(("text", "is empty"))
    if faults:
        raise InvalidRequest.of(*faults)


def too_long(name: str, limits: LimitsSettings) -> str:
    """What is wrong with a field that is so long that nobody has read it to its end."""
    if name == "metadata":
        return f"has more than the {limits.metadata_bytes:,} bytes of JSON allowed"
    chars = {
        "instructions": limits.instructions_chars,
        "prompt": limits.prompt_chars,
        "hotwords": limits.prompt_chars,
        "voice": VOICE_CHARS,
    }.get(name)
    return "is far too long" if chars is None else f"has more than the {chars:,} characters allowed"


def submit(session: Session, caller: Caller, wishes: Wishes, note: Note | None = None) -> Job:
    """Add the caller's job and its note, in the current trace if there is one. The caller commits, and then hints."""
    job = Job(
        tenant=caller.tenant,
        api_key=caller.key_id,
        kind=wishes.kind,
        note=note,
        text=wishes.text,
        language=wishes.language,
        instructions=wishes.instructions,
        voice=wishes.voice,
        audio_format=wishes.audio_format.value,
        options=wishes.options.as_json(),
        client_metadata=wishes.metadata,
        webhook_url=wishes.webhook_url,
        webhook_events=_told(wishes),
        priority=wishes.priority,
        traceparent=tracing.traceparent(),
    )
    repository.add(session, job)
    return job


def hint(job: Job) -> Hint:
    """What the queue is to be told of a job that was just made."""
    return Hint(job.id, job.stage, job.attempt, job.priority)


def _text_faults(name: str, value: str | None, longest: int) -> list[Fault]:
    if value is None:
        return []
    faults = []
    if len(value) > longest:
        faults.append((name, f"has {len(value):,} characters, more than the {longest:,} allowed"))
    if (trouble := _unstorable(value)) is not None:
        faults.append((name, trouble))
    return faults


def _useless(wishes: Wishes) -> Iterator[Fault]:
    """What a caller wishes for in vain: whoever does has most likely named the wrong kind."""
    usual = Wishes(kind=wishes.kind)
    for stage, names in _FOR_ONE_STAGE.items():
        for name in names:
            if stage not in wishes.kind.stages and getattr(wishes, name) != getattr(usual, name):
                yield name, f"is of no use: a job of the kind {wishes.kind} {_WITHOUT[stage]}"


def _voice_faults(wishes: Wishes, knows_voice: Callable[[str], bool]) -> list[Fault]:
    if wishes.voice is None or Stage.TTS not in wishes.kind.stages or knows_voice(wishes.voice):
        return []
    return [("voice", f"{wishes.voice[:50]!r} is none that a worker has now; GET /v1/voices lists those there are")]


def _webhook_faults(wishes: Wishes, check_address: Callable[[str], None]) -> list[Fault]:
    if wishes.webhook_url is None:
        return [] if wishes.webhook_events is None else [("webhook_events", "is of no use without a webhook_url")]
    try:
        check_address(wishes.webhook_url)
    except InvalidAddress as error:
        return [("webhook_url", str(error))]
    return []


def _told(wishes: Wishes) -> list[str] | None:
    """The events that the job's own address is told of."""
    if wishes.webhook_url is None:
        return None
    return wishes.webhook_events or [event.value for event in TERMINAL_EVENTS]


def _json_faults(name: str, value: dict[str, Any], most_bytes: int) -> list[Fault]:
    layer: Iterable[Any] = [value]
    for _ in range(JSON_DEPTH):
        layer = list(_contents(layer))
        if (trouble := next(filter(None, map(_unstorable, layer)), None)) is not None:
            return [(name, trouble)]
        if not layer:
            break
    else:
        return [(name, f"is nested more than {JSON_DEPTH} levels deep")]
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    return [(name, f"has {size:,} bytes as JSON, more than the {most_bytes:,} allowed")] if size > most_bytes else []


def _schema_faults(wishes: Wishes, most_bytes: int) -> list[Fault]:
    schema = wishes.options.reply_schema
    if schema is None:
        return []
    if wishes.kind is not Kind.REPLY:
        return [("reply_schema", f"is for the kind {Kind.REPLY} alone: such a reply is not meant to be spoken")]
    if faults := _json_faults("reply_schema", schema, most_bytes):
        return faults
    if (wrong := next(_risks(schema), None)) is not None:
        return [("reply_schema", wrong)]
    error = best_match(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema))
    return [] if error is None else [("reply_schema", f"is no JSON schema: {error.json_path}: {error.message}"[:300])]


def _risks(schema: Any) -> Iterator[str]:
    """What a stranger could do harm with: whoever applies the schema fetches what it refers to, and a regular
    expression can be made to run for years."""
    if isinstance(schema, dict):
        for name in ("$ref", "$dynamicRef"):
            if isinstance(target := schema.get(name), str) and not target.startswith("#"):
                yield f"refers to {target[:50]!r}; a reference must begin with #"
        if isinstance(schema.get("pattern"), str) or "patternProperties" in schema:
            yield "has a pattern, which we do not take: describe it in words instead"
    for inner in _contents([schema]):
        if isinstance(inner, dict | list):
            yield from _risks(inner)


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
