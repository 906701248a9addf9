"""What the workers' reports mean, held against what is required. Pure."""

from collections.abc import Iterable, Sequence
from typing import Self

from pydantic import BaseModel

from voxqueue.fleet.reports import (
    EngineStatus,
    FleetReport,
    FleetState,
    ServiceReport,
    StageCount,
    WorkerCounts,
    WorkerReport,
)
from voxqueue.settings import ReadySettings
from voxqueue.stages import Stage


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
