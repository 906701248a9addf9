"""What the API answers, as frozen values.

States, stages and kinds are plain strings and unknown members are kept, so that an older client can read a newer API.
"""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from voxqueue.client.errors import JobFailed


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Word(_Answer):
    """A word: start and end in seconds on the note's own clock, and how sure the engine is, from 0 to 1."""

    start: float
    end: float
    text: str
    probability: float | None = None


class Segment(_Answer):
    """A stretch of speech: start and end in seconds on the note's own clock. Words only where they were asked for."""

    start: float
    end: float
    text: str
    average_log_probability: float | None = None
    words: tuple[Word, ...] = ()


class Transcript(_Answer):
    """What was said. Silence gives an empty text. Log probabilities are natural logarithms."""

    text: str
    language: str | None = None
    audio_seconds: float | None = None
    segments: tuple[Segment, ...] = ()
    language_probability: float | None = None
    speech_seconds: float | None = None
    average_log_probability: float | None = None


class Reply(_Answer):
    """What was answered; `data` is what it says, as JSON, where a schema was given."""

    text: str
    data: Any = None


class Audio(_Answer):
    """The speech that a job made; `size` in bytes. Its sound is fetched by `Client.audio`."""

    seconds: float | None = None
    format: str | None = None
    media_type: str | None = None
    size: int | None = None
    sample_rate: int | None = None


class Note(_Answer):
    """The recording that a job started from."""

    file_name: str | None = None
    media_type: str | None = None
    seconds: float | None = None
    size: int | None = None


class Problem(_Answer):
    """Why a job failed."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    stage: str | None = None


class StageRun(_Answer):
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


class Job(_Answer):
    """One piece of work: queued, running, succeeded, failed or canceled. `progress` goes from 0 to 100."""

    id: str
    kind: str
    state: str
    stage: str | None = None
    progress: int | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    note: Note | None = None
    text: str | None = None
    options: dict[str, Any] = {}
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


class Service(_Answer):
    """A stage as the whole fleet has it: waiting, loading, warming, ready or failed. `detail`: what it is at."""

    ready: bool
    status: str
    critical: bool = True
    detail: str | None = None
    engine: str | None = None
    model: str | None = None
    device: str | None = None
    dtype: str | None = None
    load_time_ms: float | None = None
    warmup_time_ms: float | None = None
    error: str | None = None


class ReadyReport(_Answer):
    """How warm the fleet is. State: INITIALIZING, LOADING_MODELS, WARMING_UP, READY or ERROR; progress 0 to 100."""

    ready: bool
    state: str
    progress: int = 0
    degraded: bool = False
    degraded_reasons: tuple[str, ...] = ()
    services: dict[str, Service] = {}
    workers: dict[str, Any] = {}
    queues: dict[str, Any] | None = None
    startup_time_ms: float | None = None
    errors: tuple[str, ...] = ()


class Voice(_Answer):
    """A voice that can be asked for by its name. No language means that it speaks several."""

    name: str
    language: str | None = None
    engine: str | None = None
    model: str | None = None


class VoiceList(_Answer):
    """The voices that the fleet has now."""

    voices: tuple[Voice, ...]


class Endpoint(_Answer):
    """A registered address. Its `secret` is there only where it was just made."""

    id: str
    url: str
    events: tuple[str, ...] = ()
    description: str | None = None
    enabled: bool = True
    disabled_reason: str | None = None
    failing_since: datetime | None = None
    created_at: datetime | None = None
    secret: str | None = None


class EndpointList(_Answer):
    """All endpoints, the newest first."""

    endpoints: tuple[Endpoint, ...]


class Secret(_Answer):
    """What signs deliveries. The `secret` itself is there only where it was just made."""

    id: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    secret: str | None = None


class SecretList(_Answer):
    """What signs now, the newest first."""

    secrets: tuple[Secret, ...]


class Event(_Answer):
    """What has happened. `id` is what ``webhook-id`` says; `sequence` grows with each event."""

    id: str
    type: str
    sequence: int
    job_id: str | None = None
    created_at: datetime | None = None


class Attempt(_Answer):
    """One POST, or the error why there was none. `status` is the answer's, `answer` its first characters."""

    number: int
    started_at: datetime | None = None
    duration_ms: float | None = None
    status: int | None = None
    error: str | None = None
    answer: str | None = None


class Delivery(_Answer):
    """An event that is owed to one receiver: pending, succeeded or failed.

    `attempts`, and the `data` that is told, are there only where one delivery was asked for.
    """

    id: str
    event: Event
    endpoint_id: str | None = None
    url: str
    state: str
    attempt_count: int = 0
    next_attempt_at: datetime | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    data: dict[str, Any] | None = None


class DeliveryPage(_Answer):
    """One page of deliveries, and where the next one begins."""

    deliveries: tuple[Delivery, ...]
    next_cursor: str | None = None


class Page(_Answer):
    """One page of jobs, newest first, and where the next one begins."""

    jobs: tuple[Job, ...]
    next_cursor: str | None = None
