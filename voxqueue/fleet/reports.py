"""What workers say of themselves, and what the fleet's report consists of. Plain values."""

from enum import StrEnum
from typing import Self

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


class Spread(BaseModel, frozen=True):
    """Seconds that half of all starts need at most, and that nine of ten do."""

    p50: float
    p90: float

    def __add__(self, other: "Spread") -> "Spread":
        """Of two things one after the other; what is rare in both is rarer together, so `p90` errs on the safe side."""
        return Spread(p50=round(self.p50 + other.p50, 3), p90=round(self.p90 + other.p90, 3))


class StageReport(BaseModel):
    """What one worker says of one stage. `progress` goes from 0 to 100, which it reaches only when warm.

    `detail` is what it is at, where that takes long: ``pulling llama3.2: 42 %``. `eta_s` is how long it will still
    take, where earlier starts of such machines say so.
    """

    status: EngineStatus = EngineStatus.WAITING
    progress: int = 0
    eta_s: Spread | None = None
    detail: str | None = None
    engine: str | None = None
    model: str | None = None
    device: str | None = None
    dtype: str | None = None
    load_time_ms: float | None = None
    warmup_time_ms: float | None = None
    error: str | None = None
    degraded: list[str] = Field(default_factory=list, description="Why this is not the engine one would want")


class Gpu(BaseModel):
    """A GPU as its driver tells of it. Memory in bytes, where it has some of its own."""

    name: str
    memory: int | None = None
    memory_used: int | None = None


class MachineReport(BaseModel):
    """The machine that a process runs on, and what the process takes of it. Memory in bytes.

    `host_class` is the same for machines that are alike, so that what one took to start tells of another.
    """

    host_class: str
    cpu: str
    cores: int
    memory: int
    memory_available: int
    process_memory: int
    gpus: list[Gpu] = []


class WorkerReport(BaseModel):
    """One heartbeat. `versions` are those of what it runs on, by the names of the packages."""

    worker: str
    host: str
    pid: int
    startup_time_ms: float | None = None
    stages: dict[Stage, StageReport] = {}
    machine: MachineReport | None = None
    versions: dict[str, str] = {}

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
    critical: bool = Field(description="Whether the fleet is not ready without it; else it is only degraded")
    eta_s: Spread | None = Field(
        None, description="Seconds until it is ready, from earlier starts; null where they cannot tell"
    )
    detail: str | None = Field(None, description="What it is at, where that takes long: `pulling llama3.2: 42 %`")
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
    progress: int = Field(description="0 to 100. It never goes back until the fleet is ready; 100 is for ready alone")
    eta_s: Spread | None = Field(
        None, description="Seconds until ready, that of the slowest required stage; null where nobody can tell"
    )
    degraded: bool
    degraded_reasons: list[str]
    services: dict[Stage, ServiceReport]
    workers: WorkerCounts
    queues: dict[Stage, QueueReport] | None = None
    startup_time_ms: float | None = None
    errors: list[str]


class StageBrief(BaseModel):
    ready: bool
    status: EngineStatus


class FleetBrief(BaseModel):
    """What strangers are told of the fleet: neither engines nor errors. Everything stands where the whole has it."""

    ready: bool
    state: FleetState
    progress: int
    eta_s: Spread | None
    degraded: bool
    services: dict[Stage, StageBrief]
    workers: WorkerCounts

    @classmethod
    def of(cls, report: FleetReport) -> Self:
        return cls.model_validate(report, from_attributes=True)
