"""What a caller sends to have a job made. Lengths depend on the settings and are checked where jobs are made."""

import json
from typing import Annotated, Any

from fastapi import UploadFile
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from api.schemas import examples
from api.schemas.webhooks import Address, JobEvents, JobEventsText
from voxqueue.audio import AudioFormat
from voxqueue.jobs.kinds import NOTE_KINDS, TEXT_KINDS, Kind, Priority
from voxqueue.jobs.options import Options
from voxqueue.jobs.submission import Wishes
from voxqueue.languages import find_language
from voxqueue.stages import Task
from voxqueue.webhooks.events import EventType


def _language(tag: str) -> str:
    code = find_language(tag)
    if code is None:
        raise ValueError(f"{tag[:20]!r} is not a language that we know")
    return code


def _object(value: Any) -> Any:
    """A form field holds text."""
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError("must be a JSON object, as text")
    return found


def _one_of(kinds: tuple[Kind, ...], elsewhere: str) -> tuple[BeforeValidator, WithJsonSchema]:
    """Some of the kinds, in a check and in its documentation; those that are missing are taken `elsewhere`."""
    words = [kind.value for kind in kinds]

    def check(value: object) -> object:
        if value not in words:
            hint = f"; {elsewhere} takes that kind" if value in [*Kind] else ""
            raise ValueError(f"{value!r:.50} is none of {', '.join(words)}{hint}")
        return value

    return BeforeValidator(check), WithJsonSchema({"type": "string", "enum": words})


Language = Annotated[str, AfterValidator(_language)]
Metadata = Annotated[
    dict[str, Any], Field(default_factory=dict, description="Yours to use; it comes back with the job")
]
MetadataText = Annotated[
    dict[str, Any],
    BeforeValidator(_object, json_schema_input_type=str),
    Field(default_factory=dict, description="A JSON object as text; yours to use, it comes back with the job"),
]


def _unless_empty(events: object) -> object:
    """What was filled into a form; a field that is left empty is none, as the framework has it of all others."""
    return None if events == [""] else events


def _filled_in(schema: dict[str, Any]) -> None:
    """Show what a form may hold; whoever fills it in by hand, as at `/docs`, finds empty what may be left out."""
    schema["examples"] = [examples.VOICE_NOTE]
    for name, field in schema["properties"].items():
        if name not in schema["required"] and field.get("default") is None:
            field["examples"] = [""]


def _words(events: list[EventType] | None) -> list[str] | None:
    return None if events is None else [event.value for event in events]


class _Options(BaseModel):
    """What may be wished for, whatever the job starts from."""

    model_config = ConfigDict(extra="forbid")

    language: Language | None = Field(
        None, description="ISO 639-1, such as `en`; `en-US` counts as `en`. Without it, speech to text finds out."
    )
    instructions: str | None = Field(None, description="How the reply is to be: its tone, its length, what to know")
    voice: str | None = Field(None, description="A voice that the text-to-speech engine knows; see `/v1/voices`")
    audio_format: AudioFormat = Field(AudioFormat.OGG, description="What the spoken reply is delivered as")
    priority: Priority = Field(Priority.NORMAL, description="Which of the waiting jobs goes first")
    webhook_url: Address | None = Field(
        None,
        description="Where to tell of this job; see `webhook_events`. Before the first one, make the secret that signs "
        "what is sent: `POST /v1/webhooks/secret/rotate` shows it, and nothing else does",
    )


class VoiceNoteForm(_Options):
    """A recording and what to do with it."""

    model_config = ConfigDict(json_schema_extra=_filled_in)

    file: UploadFile = Field(description="The recording: Ogg, WebM, MP3, M4A, WAV, FLAC, AMR and more")
    kind: Annotated[Kind, *_one_of(NOTE_KINDS, "POST /v1/texts")] = Field(
        Kind.VOICE_NOTE, description="`voice_note`: transcript, reply, spoken reply. `transcription`: transcript only."
    )
    task: Task = Field(Task.TRANSCRIBE, description="`translate`: the transcript, and what follows from it, in English")
    prompt: str | None = Field(None, description="What came before, or names to expect, in the spelling to be used")
    hotwords: str | None = Field(None, description="Words to listen for")
    word_timestamps: bool = Field(False, description="Whether to say when each word is spoken")
    metadata: MetadataText
    webhook_events: Annotated[JobEventsText | None, BeforeValidator(_unless_empty)] = Field(
        None,
        description="What `webhook_url` is told of, with commas between: `job.started`, `job.stage_completed`, "
        "`job.succeeded`, `job.failed`, `job.canceled`; else of the last three",
    )

    def wishes(self) -> Wishes:
        return Wishes(
            kind=self.kind,
            language=self.language,
            instructions=self.instructions,
            voice=self.voice,
            audio_format=self.audio_format,
            options=Options(
                task=self.task, prompt=self.prompt, hotwords=self.hotwords, word_timestamps=self.word_timestamps
            ),
            metadata=self.metadata,
            webhook_url=self.webhook_url,
            webhook_events=_words(self.webhook_events),
            priority=self.priority,
        )


class TextBody(_Options):
    """A text and what to do with it."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.TEXT]})

    text: str = Field(description="What was written, or for `speech` what is to be spoken")
    kind: Annotated[Kind, *_one_of(TEXT_KINDS, "POST /v1/voice-notes")] = Field(
        Kind.CHAT, description="`chat`: reply and spoken reply. `reply`: reply only. `speech`: the text, spoken."
    )
    reply_schema: dict[str, Any] | None = Field(
        None, description="For `reply`: a JSON schema that the reply is to follow; `reply.data` then holds what it says"
    )
    metadata: Metadata
    webhook_events: JobEvents | None = Field(
        None, description="What `webhook_url` is told of; else of the job having succeeded, failed or been canceled"
    )

    def wishes(self) -> Wishes:
        return Wishes(
            kind=self.kind,
            text=self.text,
            language=self.language,
            instructions=self.instructions,
            voice=self.voice,
            audio_format=self.audio_format,
            options=Options(reply_schema=self.reply_schema),
            metadata=self.metadata,
            webhook_url=self.webhook_url,
            webhook_events=_words(self.webhook_events),
            priority=self.priority,
        )
