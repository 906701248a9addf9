"""What the API answers, as frozen values, and the errors that hold a job.

States, stages and kinds are plain strings and unknown members are kept, so that an older client can read a newer API.
"""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from voxqueue.client.errors import ClientError


class Answer(BaseModel):
    """Base of all of them."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Word(Answer):
    """A word: start and end in seconds on the note's own clock, and how sure the engine is, from 0 to 1."""

    start: float
    end: float
    text: str
    probability: float | None = None


class Segment(Answer):
    """A stretch of speech: start and end in seconds on the note's own clock. Words only where they were asked for."""

    start: float
    end: float
    text: str
    average_log_probability: float | None = None
    words: tuple[Word, ...] = ()


class Transcript(Answer):
    """What was said. Silence gives an empty text. Log probabilities are natural logarithms."""

    text: str
    language: str | None = None
    audio_seconds: float | None = None
    segments: tuple[Segment, ...] = ()
    language_probability: float | None = None
    speech_seconds: float | None = None
    average_log_probability: float | None = None


class Reply(Answer):
    """What was answered; `data` is what it says, as JSON, where a schema was given."""

    text: str
    data: Any = None


class Audio(Answer):
    """The speech that a job made; `size` in bytes. Its sound is fetched by `Client.audio`."""

    seconds: float | None = None
    format: str | None = None
    media_type: str | None = None
    size: int | None = None
    sample_rate: int | None = None


class Note(Answer):
    """The recording that a job started from."""

    file_name: str | None = None
    media_type: str | None = None
    seconds: float | None = None
    size: int | None = None


class Problem(Answer):
    """Why a job failed."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    stage: str | None = None


class StageRun(Answer):
    """One stage of a job: pending, running, succeeded, failed, skipped or canceled. Times in milliseconds.

    `progress` goes from 0 to 100; `degradations` say what it gave less than was asked for.
    """

    stage: str
    state: str
    reason: str | None = None
    engine: str | None = None
    model: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failures: int = 0
    wait_ms: float | None = None
    run_ms: float | None = None
    batch_size: int | None = None
    progress: int | None = None
    degradations: tuple[str, ...] = ()


class Job(Answer):
    """One piece of work: queued, running, succeeded, failed or canceled. `progress` goes from 0 to 100.

    From `language` to `text` stands what was asked for.
    """

    id: str
    kind: str
    state: str
    stage: str | None = None
    progress: int | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    language: str | None = None
    instructions: str | None = None
    voice: str | None = None
    audio_format: str | None = None
    priority: str | None = None
    options: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    webhook_url: str | None = None
    webhook_events: tuple[str, ...] | None = None
    note: Note | None = None
    text: str | None = None
    stages: tuple[StageRun, ...] = ()
    degradations: tuple[str, ...] = ()
    transcript: Transcript | None = None
    reply: Reply | None = None
    audio: Audio | None = None
    error: Problem | None = None
    links: dict[str, Any] = {}

    @property
    def is_finished(self) -> bool:
        return self.state in ("succeeded", "failed", "canceled")

    @property
    def marks(self) -> tuple[object, ...]:
        """What tells one moment of the job from another: its state and that of each stage, and how far it is."""
        return self.state, self.stage, self.progress, tuple((run.stage, run.state) for run in self.stages)

    def raise_for_state(self) -> Self:
        """Return the job itself unless it failed or was canceled; then `JobFailed`."""
        if self.state == "canceled":
            raise JobFailed(f"Job {self.id} was canceled.", self)
        if self.state == "failed":
            error = self.error or Problem()
            why = error.detail or error.title or "no reason was given"
            raise JobFailed(f"Job {self.id} failed{f' at {error.stage}' if error.stage else ''}: {why}", self)
        return self


class Eta(Answer):
    """Seconds that it will still take: half of earlier starts took no longer than `p50`, nine of ten than `p90`."""

    p50: float
    p90: float


class Service(Answer):
    """A stage as the whole fleet has it: waiting, loading, warming, ready or failed. `detail`: what it is at."""

    ready: bool
    status: str
    critical: bool = True
    eta_s: Eta | None = None
    detail: str | None = None
    engine: str | None = None
    model: str | None = None
    device: str | None = None
    dtype: str | None = None
    load_time_ms: float | None = None
    warmup_time_ms: float | None = None
    error: str | None = None


class ReadyReport(Answer):
    """How warm the fleet is. State: INITIALIZING, LOADING_MODELS, WARMING_UP, READY or ERROR; progress 0 to 100.

    Whoever has no key that counts, where one is needed, learns neither engines nor errors. `eta_s` is there only where
    enough earlier starts tell.
    """

    ready: bool
    state: str
    progress: int = 0
    eta_s: Eta | None = None
    degraded: bool = False
    degraded_reasons: tuple[str, ...] = ()
    services: dict[str, Service] = {}
    workers: dict[str, Any] = {}
    queues: dict[str, Any] | None = None
    startup_time_ms: float | None = None
    errors: tuple[str, ...] = ()


class Voice(Answer):
    """A voice that can be asked for by its name. No language means that it speaks several."""

    name: str
    language: str | None = None
    engine: str | None = None
    model: str | None = None


class VoiceList(Answer):
    """The voices that the fleet has now."""

    voices: tuple[Voice, ...]


class Page(Answer):
    """One page of jobs, newest first, and where the next one begins."""

    jobs: tuple[Job, ...]
    next_cursor: str | None = None


class JobFailed(ClientError):
    """The job failed or was canceled. Raised by `Job.raise_for_state` only."""

    def __init__(self, message: str, job: Job) -> None:
        super().__init__(message)
        self.job = job


class WaitTimeout(ClientError):
    """The job did not finish in the time given. It goes on; wait again if you like.

    Attributes:
        job: How the job stood when last seen; None if the API never answered.
    """

    def __init__(self, message: str, job: Job | None) -> None:
        super().__init__(message)
        self.job = job
