"""How a job looks on the wire. What a stage left in its row is shown piece by piece, never as it lies there."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.schemas import examples
from voxqueue.audio import AudioFormat
from voxqueue.jobs.kinds import Kind, Priority
from voxqueue.jobs.models import Job, Note, StageRun
from voxqueue.jobs.states import TRANSITIONS, JobState, RunState
from voxqueue.stages import Stage

JOBS_PATH = "/v1/jobs"

Utc = Annotated[datetime, AfterValidator(lambda moment: moment.astimezone(UTC))]

ViewT = TypeVar("ViewT", bound=BaseModel)


class NoteView(BaseModel):
    """The recording that the job started from."""

    file_name: str | None
    seconds: float
    size: int = Field(description="In bytes")
    media_type: str


class StageView(BaseModel):
    """How one stage of the job goes or went."""

    stage: Stage
    state: RunState
    reason: str | None = Field(description="Why it was skipped, or is tried again")
    engine: str | None
    model: str | None
    started_at: Utc | None
    finished_at: Utc | None
    wait_ms: float | None = Field(description="From being ready to run until the model call began")
    run_ms: float | None = Field(description="The model call")
    batch_size: int | None = Field(description="How many jobs shared the model call")
    failures: int = Field(description="How often it was tried in vain")
    progress: int = Field(description="0 to 100: how much of it is done; 100 once its result is there")
    degradations: list[str] = Field(description="What it gave less than was asked for")

    @classmethod
    def of(cls, run: StageRun) -> Self:
        return cls(
            stage=run.stage,
            state=run.state,
            reason=run.reason,
            engine=run.engine,
            model=run.model,
            started_at=run.started_at,
            finished_at=run.finished_at,
            wait_ms=None if run.wait_ms is None else round(run.wait_ms, 3),
            run_ms=run.run_ms,
            batch_size=run.batch_size,
            failures=run.failures,
            progress=round(100 * run.share),
            degradations=run.degradations,
        )


class WordView(BaseModel):
    start: float = Field(description="In seconds from the beginning of the recording")
    end: float
    text: str
    probability: float = Field(description="0 to 1: how sure the engine is")


class SegmentView(BaseModel):
    start: float = Field(description="In seconds from the beginning of the recording")
    end: float
    text: str
    average_log_probability: float | None = Field(None, description="Of its tokens; natural logarithm")
    words: list[WordView] = Field([], description="Where `word_timestamps` asked for them")


class TranscriptView(BaseModel):
    """What was said. Silence has an empty text."""

    text: str
    language: str | None = Field(description="What was spoken, whatever the task")
    audio_seconds: float
    segments: list[SegmentView]
    language_probability: float | None = Field(None, description="0 to 1, where the engine found the language out")
    speech_seconds: float | None = Field(None, description="How much of the recording is speech")
    average_log_probability: float | None = Field(None, description="Of all tokens; natural logarithm")


class ReplyView(BaseModel):
    text: str
    data: Any = Field(None, description="What the reply says, as JSON, where `reply_schema` was given")


class AudioView(BaseModel):
    """The spoken reply; `links.audio` is where to fetch it."""

    seconds: float
    format: AudioFormat
    media_type: str
    size: int = Field(description="In bytes")
    sample_rate: int


class JobError(BaseModel):
    """Why the job failed."""

    type: str
    title: str
    detail: str
    stage: Stage


class JobView(BaseModel):
    """A job: where it stands, and what it has brought so far."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.JOB]})

    id: UUID
    kind: Kind
    state: JobState
    stage: Stage = Field(description="The stage where it stands")
    progress: int = Field(description="0 to 100: how much of its stages is done, each counting the same")
    created_at: Utc
    started_at: Utc | None
    finished_at: Utc | None
    language: str | None = Field(description="As wished for; `transcript.language` has what was heard")
    instructions: str | None
    voice: str | None
    audio_format: AudioFormat | None = Field(
        description="What the spoken reply is delivered as; null where nothing is spoken"
    )
    priority: Priority
    options: dict[str, Any] = Field(
        description="Of `task`, `prompt`, `hotwords`, `word_timestamps` and `reply_schema` those that were wished for"
    )
    metadata: dict[str, Any]
    webhook_url: str | None
    webhook_events: list[str] | None = Field(description="What `webhook_url` is told of")
    note: NoteView | None
    text: str | None
    stages: list[StageView]
    degradations: list[str] = Field(description="What all of its stages gave less than was asked for")
    transcript: TranscriptView | None
    reply: ReplyView | None
    audio: AudioView | None
    error: JobError | None
    links: dict[str, str] = Field(
        description="What can be asked of the job now: self, events, cancel, retry, transcript, audio"
    )

    @classmethod
    def of(cls, job: Job) -> Self:
        results = {run.stage: run.result for run in job.runs if run.state is RunState.SUCCEEDED and run.result}
        return cls(
            id=job.id,
            kind=job.kind,
            state=job.state,
            stage=job.stage,
            progress=int(100 * sum(run.share for run in job.runs) / len(job.runs)),
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            language=job.language,
            instructions=job.instructions,
            voice=job.voice,
            audio_format=AudioFormat(job.audio_format) if Stage.TTS in job.kind.stages else None,
            priority=job.priority,
            options=job.options,
            metadata=job.client_metadata,
            webhook_url=job.webhook_url,
            webhook_events=job.webhook_events,
            note=None if job.note is None else _note(job.note),
            text=job.text,
            stages=[StageView.of(run) for run in job.runs],
            degradations=[f"{run.stage}: {how}" for run in job.runs for how in run.degradations],
            transcript=_shown(TranscriptView, results.get(Stage.STT)),
            reply=_shown(ReplyView, results.get(Stage.LLM)),
            audio=_shown(AudioView, results.get(Stage.TTS)),
            error=_error(job),
            links=_links(job, results),
        )


class JobPage(BaseModel):
    """Jobs from the newest on."""

    jobs: list[JobView]
    next_cursor: str | None = Field(description="What to send as `cursor` for the next page; null on the last one")


def job_path(job_id: UUID) -> str:
    return f"{JOBS_PATH}/{job_id}"


def _note(note: Note) -> NoteView:
    return NoteView(file_name=note.file_name, seconds=note.seconds, size=note.size, media_type=note.media_type)


def _shown(view: type[ViewT], result: dict[str, Any] | None) -> ViewT | None:
    """What a stage has committed, without the members that are ours alone, such as a blob's key."""
    return None if result is None else view.model_validate(result)


def _error(job: Job) -> JobError | None:
    if job.state is not JobState.FAILED or job.error is None:
        return None
    return JobError.model_validate({"stage": job.stage, **job.error})


def _links(job: Job, results: dict[Stage, dict[str, Any]]) -> dict[str, str]:
    path = job_path(job.id)
    links = {"self": path, "events": f"{path}/events"}
    if not job.state.is_terminal:
        links["cancel"] = f"{path}/cancel"
    elif JobState.QUEUED in TRANSITIONS[job.state]:
        links["retry"] = f"{path}/retry"
    if Stage.STT in results:
        links["transcript"] = f"{path}/transcript"
    if Stage.TTS in results:
        links["audio"] = f"{path}/audio"
    return links
