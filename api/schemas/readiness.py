"""What the probes answer, and what operators ask of starts and systems. `voxqueue.fleet` has the fleet's report."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.jobs import Utc
from voxqueue.fleet import MachineReport, WorkerReport
from voxqueue.fleet.history import KEEP, Summary
from voxqueue.settings import LimitsSettings
from voxqueue.stages import Stage


class Alive(BaseModel):
    status: str = "ok"


class Health(BaseModel):
    """Whether this process can accept jobs, in a word."""

    status: Literal["ok", "unavailable"]


class Dependency(BaseModel):
    """Something that this process needs."""

    ready: bool
    required: bool = Field(description="Whether jobs cannot be accepted without it")
    error: str | None = None


class ProcessReadiness(BaseModel):
    """Whether this process can accept jobs."""

    ready: bool
    database: Dependency
    storage: Dependency
    redis: Dependency = Field(description="Without it, accepted jobs start later")


class Quantiles(BaseModel):
    """Milliseconds that half of the starts needed at most, and that nine of ten did."""

    p50: float
    p90: float


class StartsView(BaseModel):
    """The starts of one engine with one model on one device of machines that are alike."""

    host_class: str
    stage: Stage
    engine: str
    model: str
    device: str
    starts: int = Field(description=f"How many are kept; at most the newest {KEEP}")
    load_ms: Quantiles
    warmup_ms: Quantiles
    last_at: Utc

    @classmethod
    def of(cls, found: Summary) -> Self:
        return cls(
            host_class=found.host_class,
            stage=found.stage,
            engine=found.engine,
            model=found.model,
            device=found.device,
            starts=found.starts,
            load_ms=Quantiles(p50=found.load_p50_ms, p90=found.load_p90_ms),
            warmup_ms=Quantiles(p50=found.warmup_p50_ms, p90=found.warmup_p90_ms),
            last_at=found.last_at,
        )


class StartView(BaseModel):
    """One stage of one start of a worker. Times in milliseconds."""

    model_config = ConfigDict(from_attributes=True)

    worker: str
    host_class: str
    stage: Stage
    engine: str
    model: str
    device: str
    dtype: str | None
    load_ms: float
    warmup_ms: float
    warm_at: Utc


class StartHistory(BaseModel):
    """How long it took to be warm. The start that was last comes first."""

    starts: Sequence[StartsView] = Field(description="By machine, stage, engine, model and device")
    latest: Sequence[StartView] = Field(description="The last 20, of whatever stage")


class SystemInfo(BaseModel):
    """This process, the machine that it runs on, and the workers."""

    version: str
    versions: dict[str, str] = Field(description="Of Python and of what is installed here, by package")
    pid: int
    machine: MachineReport
    limits: LimitsSettings = Field(description="What the API refuses, see the settings reference")
    workers: list[WorkerReport] | None = Field(
        description="What each has warm, on which machine, with which versions; null while Redis is away"
    )
