"""The fleet: what each worker says it has warm, and what the readiness endpoint makes of it.

Workers report themselves to Redis under keys that expire by themselves: a worker that falls silent is not warm.
Nobody asks the workers, so the answer costs two round trips to Redis however many there are.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Self, cast

import redis
from pydantic import BaseModel, Field

from voxqueue.settings import ReadySettings, RedisSettings, WorkerSettings
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


class Fleet:
    """The workers' reports in Redis."""

    def __init__(self, redis_settings: RedisSettings, worker_settings: WorkerSettings) -> None:
        self._redis = redis.Redis.from_url(
            redis_settings.require_url(), socket_timeout=2, socket_connect_timeout=2, decode_responses=True
        )
        self._names = f"{redis_settings.prefix}:workers"
        self._prefix = f"{redis_settings.prefix}:worker:"
        self._voices_prefix = f"{redis_settings.prefix}:voices:"
        self._warmups = f"{redis_settings.prefix}:warmups"
        self._voices_left: VoicesReport | None = None
        self._ttl_ms = int(worker_settings.heartbeat_ttl_s * 1000)

    def beat(self, report: WorkerReport, voices: VoicesReport | None = None) -> int:
        """Leave a report that counts until its time is over, and with it the voices.

        Returns:
            How often somebody has asked the fleet to try its engines again.

        Raises:
            redis.RedisError: It was not left.
        """
        voices_key = self._voices_prefix + report.worker
        with self._redis.pipeline() as pipeline:
            pipeline.sadd(self._names, report.worker)
            pipeline.set(self._prefix + report.worker, report.model_dump_json(), px=self._ttl_ms)
            pipeline.pexpire(voices_key, self._ttl_ms)
            pipeline.get(self._warmups)
            *_, are_there, warmups = pipeline.execute()
        # A list may be long: it is sent again only when it is another one, or when Redis has lost it.
        if voices is not None and not (are_there and voices == self._voices_left):
            self._redis.set(voices_key, voices.model_dump_json(), px=self._ttl_ms)
            self._voices_left = voices
        return int(warmups or 0)

    def ask_for_warmup(self) -> None:
        """Have the workers whose engines failed try them again now. Raises `redis.RedisError`."""
        self._redis.incr(self._warmups)

    def leave(self, worker: str) -> None:
        """Take the report back. Raises `redis.RedisError`."""
        with self._redis.pipeline() as pipeline:
            pipeline.srem(self._names, worker)
            pipeline.delete(self._prefix + worker, self._voices_prefix + worker)
            pipeline.execute()

    def workers(self) -> list[WorkerReport]:
        """Those who have reported lately, by name. Raises `redis.RedisError`."""
        names = sorted(cast("set[str]", self._redis.smembers(self._names)))
        if not names:
            return []
        found = cast("list[str | None]", self._redis.mget([self._prefix + name for name in names]))
        gone = [name for name, report in zip(names, found, strict=True) if report is None]
        if gone:
            self._redis.srem(self._names, *gone)
        return [WorkerReport.model_validate_json(report) for report in found if report is not None]

    def voices(self) -> list[VoicesReport]:
        """Of every worker that has text to speech warm, the voices. Raises `redis.RedisError`."""
        names = sorted(cast("set[str]", self._redis.smembers(self._names)))
        if not names:
            return []
        found = cast("list[str | None]", self._redis.mget([self._voices_prefix + name for name in names]))
        return [VoicesReport.model_validate_json(report) for report in found if report is not None]

    def check(self) -> None:
        """Return if Redis answers, else raise `redis.RedisError`."""
        self._redis.ping()

    def close(self) -> None:
        self._redis.close()


class Requirement(BaseModel):
    """How many warm workers each stage needs for the fleet to count as ready."""

    required: dict[Stage, int]

    @classmethod
    def of(cls, settings: ReadySettings, stage: Stage | None = None, min_warm: int | None = None) -> Self:
        """The configured quorum of the critical stages, or what the caller asks for instead."""
        stages = settings.critical_stages if stage is None else (stage,)
        return cls(required=dict.fromkeys(stages, settings.quorum if min_warm is None else min_warm))


def assess(workers: Sequence[WorkerReport], requirement: Requirement) -> FleetReport:
    """What the reports mean, held against what is required. Pure; `queues` is left for the caller to add."""
    required = requirement.required
    services = {stage: _service(stage, workers, critical=stage in required) for stage in Stage}
    warm = {stage: sum(_is_warm(worker, stage) for worker in workers) for stage in Stage}
    ready = all(warm[stage] >= needed for stage, needed in required.items())
    errors = [f"{stage}: {service.error}" for stage, service in services.items() if service.error]
    reasons = sorted({reason for worker in workers for report in worker.stages.values() for reason in report.degraded})
    engines = [worker for worker in workers if worker.stages]
    return FleetReport(
        ready=ready,
        state=_state(ready, [services[stage] for stage in required], engines),
        progress=100 if ready else min(99, _mean(_progress(stage, workers) for stage in required)),
        degraded=bool(reasons) or (ready and bool(errors)),
        degraded_reasons=reasons,
        services=services,
        workers=WorkerCounts(
            total=len(engines),
            warm=sum(worker.is_warm for worker in engines),
            warming=sum(not worker.is_warm and not worker.has_failed for worker in engines),
            failed=sum(worker.has_failed for worker in engines),
            by_stage={stage: StageCount(warm=warm[stage], required=required.get(stage, 0)) for stage in Stage},
        ),
        startup_time_ms=min((worker.startup_time_ms for worker in engines if worker.startup_time_ms), default=None),
        errors=errors,
    )


_AS_REPORTED = {"status", "detail", "engine", "model", "device", "dtype", "load_time_ms", "warmup_time_ms"}


def _is_warm(worker: WorkerReport, stage: Stage) -> bool:
    report = worker.stages.get(stage)
    return report is not None and report.status is EngineStatus.READY


def _service(stage: Stage, workers: Sequence[WorkerReport], *, critical: bool) -> ServiceReport:
    reports = [worker.stages[stage] for worker in workers if stage in worker.stages]
    if not reports:
        return ServiceReport(ready=False, status=EngineStatus.WAITING, critical=critical)
    furthest = max(reports, key=lambda report: (report.status is not EngineStatus.FAILED, report.progress))
    failed = next((report.error for report in reports if report.status is EngineStatus.FAILED), None)
    return ServiceReport(
        ready=furthest.status is EngineStatus.READY,
        critical=critical,
        error=furthest.error or failed,
        **furthest.model_dump(include=_AS_REPORTED),
    )


def _progress(stage: Stage, workers: Sequence[WorkerReport]) -> int:
    return max((worker.stages[stage].progress for worker in workers if stage in worker.stages), default=0)


def _mean(values: Iterable[int]) -> int:
    numbers = list(values)
    return sum(numbers) // len(numbers) if numbers else 0


def _state(ready: bool, critical: Sequence[ServiceReport], engines: Sequence[WorkerReport]) -> FleetState:
    if ready:
        return FleetState.READY
    if not engines:
        return FleetState.INITIALIZING
    statuses = {service.status for service in critical}
    if EngineStatus.FAILED in statuses:
        return FleetState.ERROR
    return FleetState.WARMING_UP if EngineStatus.WARMING in statuses else FleetState.LOADING_MODELS
