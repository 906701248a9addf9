"""What workers say of themselves, and what the fleet's report consists of. Plain values."""

from enum import StrEnum

from pydantic import BaseModel, Field

from voxqueue.stages import Stage


class EngineStatus(StrEnum):
    """How far a worker is with the engine of a stage."""

    WAITING = "waiting"
    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    FAILED = "failed"


class FleetState(StrEnum):
    INITIALIZING = "INITIALIZING"
    LOADING_MODELS = "LOADING_MODELS"
    WARMING_UP = "WARMING_UP"
    READY = "READY"
    ERROR = "ERROR"


class StageReport(BaseModel):
    """What one worker says of one stage. `progress` goes from 0 to 100, which it reaches only when warm.

    `detail` is what it is at, where that takes long: ``pulling llama3.2: 42 %``.
    """

    status: EngineStatus = EngineStatus.WAITING
    progress: int = 0
    detail: str | None = None
    engine: str | None = None
    model: str | None = None
    device: str | None = None
    dtype: str | None = None
    load_time_ms: float | None = None
    warmup_time_ms: float | None = None
    error: str | None = None
    degraded: list[str] = Field(default_factory=list, description="Why this is not the engine one would want")


class WorkerReport(BaseModel):
    """One heartbeat."""

    worker: str
    host: str
    pid: int
    startup_time_ms: float | None = None
    stages: dict[Stage, StageReport] = {}

    @property
    def is_warm(self) -> bool:
        return all(stage.status is EngineStatus.READY for stage in self.stages.values())

    @property
    def has_failed(self) -> bool:
        return any(stage.status is EngineStatus.FAILED for stage in self.stages.values())


class Voice(BaseModel):
    """A voice, and its ISO 639-1 language; None where it speaks several."""

    name: str
    language: str | None = None


class VoicesReport(BaseModel):
    """The voices that one worker has warm. Without any, its engine takes every name.

    `variants` may follow a voice's name after a plus sign, such as ``en-us+f3``.
    """

    engine: str
    model: str
    voices: list[Voice]
    variants: list[str] = []

    def knows(self, name: str) -> bool:
        """Whether this worker may have the voice of this name; capitals do not matter."""
        base, _, variant = name.lower().partition("+")
        names = {voice.name.lower() for voice in self.voices}
        return not names or name.lower() in names or (base in names and variant in self.variants)


class ServiceReport(BaseModel):
    """A stage as the whole fleet has it: that of the worker which is furthest."""

    ready: bool
    status: EngineStatus
    critical: bool
    detail: str | None = None
    engine: str | None = None
    model: str | None = None
    device: str | None = None
    dtype: str | None = None
    load_time_ms: float | None = None
    warmup_time_ms: float | None = None
    error: str | None = None


class StageCount(BaseModel):
    warm: int
    required: int


class WorkerCounts(BaseModel):
    total: int
    warm: int
    warming: int
    failed: int
    by_stage: dict[Stage, StageCount]


class QueueReport(BaseModel):
    """Jobs that wait for a stage, those that run, and the age in seconds of the one that has waited longest."""

    depth: int
    running: int
    oldest_age_s: float | None = None


class FleetReport(BaseModel):
    """What the readiness endpoint answers."""

    ready: bool
    state: FleetState
    progress: int
    degraded: bool
    degraded_reasons: list[str]
    services: dict[Stage, ServiceReport]
    workers: WorkerCounts
    queues: dict[Stage, QueueReport] | None = None
    startup_time_ms: float | None = None
    errors: list[str]
