"""What each stage needs before its engine and does after it: fetching, decoding, encoding, storing.

Runs in a job's own thread, beside the inference of other jobs. A step knows one stage; what comes next is the runner's.
"""

import io
from dataclasses import dataclass
from typing import Any, Protocol

from voxqueue.audio import AudioFormat, Decoding, encode, finish
from voxqueue.errors import BlobMissing, NoteGone
from voxqueue.jobs.blobs import speech_key
from voxqueue.jobs.lifecycle import ClaimedJob
from voxqueue.settings import Settings
from voxqueue.stages import (
    LlmRequest,
    LlmResult,
    Request,
    Stage,
    SttRequest,
    SttResult,
    Task,
    TtsRequest,
    TtsResult,
)
from voxqueue.storage import BlobStore


@dataclass(frozen=True, slots=True)
class Concluded:
    """A stage's result as it is written down; `key` is the blob that belongs to it; `silence` says why to stop here."""

    result: dict[str, Any]
    key: str | None = None
    silence: str | None = None


class Step(Protocol):
    """The two halves of a stage around its engine. Both raise `VoxqueueError` only."""

    def prepare(self, job: ClaimedJob) -> Request:
        """Gather what the engine needs."""

    def conclude(self, job: ClaimedJob, result: Any) -> Concluded:
        """Turn the engine's result into what is written down."""


class SttStep:
    """A note's recording in, a transcript out."""

    def __init__(self, settings: Settings, store: BlobStore) -> None:
        self._limit_s = settings.limits.note_seconds
        self._store = store

    def prepare(self, job: ClaimedJob) -> Request:
        assert job.note_key is not None, "intake gives every job that begins with stt a note"
        try:
            recording = self._store.get(job.note_key)
        except BlobMissing as error:
            raise NoteGone("The recording of this note is no longer stored. Upload it again.") from error
        # A little longer than the limit: the length that a header promised is not exact.
        return SttRequest(
            audio=Decoding(recording, self._limit_s + 5),
            language=job.language,
            task=job.options.task,
            prompt=job.options.prompt,
            hotwords=job.options.hotwords,
            word_timestamps=job.options.word_timestamps,
            duration=job.note_seconds,
        )

    def conclude(self, job: ClaimedJob, result: SttResult) -> Concluded:
        silence = None if result.text.strip() else "no speech was heard in the note"
        return Concluded(result.as_json(), silence=silence)


class LlmStep:
    """What was said or written in, a reply out."""

    def prepare(self, job: ClaimedJob) -> Request:
        heard = _heard(job)
        text = heard.text if heard else job.text or ""
        return LlmRequest(
            text=text,
            instructions=job.instructions,
            language=_language(job, heard),
            schema=job.options.reply_schema,
        )

    def conclude(self, job: ClaimedJob, result: LlmResult) -> Concluded:
        return Concluded(result.as_json(), silence=None if result.text.strip() else "the reply is empty")


class TtsStep:
    """A text in, stored speech out."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    def prepare(self, job: ClaimedJob) -> Request:
        replied = Stage.LLM in job.kind.stages
        text = LlmResult.from_json(job.results[Stage.LLM]).text if replied else job.text or ""
        return TtsRequest(text=text, voice=job.voice, language=_language(job, _heard(job)))

    def conclude(self, job: ClaimedJob, result: TtsResult) -> Concluded:
        audio_format = AudioFormat(job.audio_format)
        speech = finish(result.samples, result.sample_rate)
        encoded = encode(speech, result.sample_rate, audio_format)
        key = speech_key(job.id, job.attempt, audio_format.extension)
        blob = self._store.put(key, io.BytesIO(encoded), media_type=audio_format.media_type)
        description = {
            "key": key,
            "format": audio_format.value,
            "media_type": audio_format.media_type,
            "seconds": round(len(speech) / result.sample_rate, 3),
            "sample_rate": result.sample_rate,
            "size": blob.size,
            "sha256": blob.sha256,
        }
        return Concluded(description, key=key)


def _heard(job: ClaimedJob) -> SttResult | None:
    """The transcript of a job that has one. A stage before this one has its result, or something is badly wrong."""
    return SttResult.from_json(job.results[Stage.STT]) if job.kind.takes_note else None


def _language(job: ClaimedJob, heard: SttResult | None) -> str | None:
    """What the stages after speech to text read and speak."""
    if heard and job.options.task is Task.TRANSLATE:
        return "en"  # whatever was spoken in the note
    return job.language or (heard.language if heard else None)


def create_steps(settings: Settings, store: BlobStore) -> dict[Stage, Step]:
    """The step of every stage."""
    return {Stage.STT: SttStep(settings, store), Stage.LLM: LlmStep(), Stage.TTS: TtsStep(store)}
