"""What the workers' reports mean, held against what is required. Pure."""

from collections.abc import Iterator, Sequence
from typing import Self

from pydantic import BaseModel

from voxqueue.fleet.reports import (
    EngineStatus,
    FleetReport,
    FleetState,
    ServiceReport,
    Spread,
    StageCount,
    StageReport,
    WorkerCounts,
    WorkerReport,
)
from voxqueue.settings import ReadySettings
from voxqueue.stages import Stage


class Requirement(BaseModel, frozen=True):
    """How many warm workers each stage needs for the fleet to count as ready, and without which it is degraded."""

    required: dict[Stage, int]
    optional: tuple[Stage, ...] = ()

    @classmethod
    def of(cls, settings: ReadySettings, stage: Stage | None = None, min_warm: int | None = None) -> Self:
        """The configured quorum of the critical stages, or what the caller asks for instead."""
        quorums = settings.quorums
        if stage is not None:
            return cls(required={stage: max(1, quorums[stage]) if min_warm is None else min_warm})
        expected = [one for one in Stage if quorums[one] > 0]
        critical = [one for one in expected if one in settings.critical_stages]
        return cls(
            required={one: quorums[one] if min_warm is None else min_warm for one in critical},
            optional=tuple(one for one in expected if one not in critical),
        )

    @property
    def name(self) -> str:
        """The same for the same numbers of the same stages: ``stt=2,llm=1``."""
        return ",".join(f"{stage}={needed}" for stage, needed in self.required.items())


def assess(workers: Sequence[WorkerReport], requirement: Requirement) -> FleetReport:
    """What the reports mean, held against what is required. Pure; `queues` is left for the caller to add."""
    required = requirement.required
    engines = [worker for worker in workers if worker.stages]
    stages = {stage: _Standing(stage, workers, required.get(stage)) for stage in Stage}
    asked = [stages[stage] for stage in required]
    ready = all(standing.lacking == 0 for standing in asked)
    services = {stage: standing.service() for stage, standing in stages.items()}
    errors = [f"{stage}: {service.error}" for stage, service in services.items() if service.error]
    errors += [fault for standing in asked for fault in standing.shortage()] if engines else []
    reasons = {reason for worker in workers for report in worker.stages.values() for reason in report.degraded}
    if ready:
        reasons |= {reason for stage in requirement.optional for reason in stages[stage].loss()}
    return FleetReport(
        ready=ready,
        state=_state(ready, asked, engines),
        progress=100 if ready else min(99, sum(standing.progress() for standing in asked) // len(asked)),
        eta_s=_slowest(asked),
        degraded=bool(reasons) or (ready and bool(errors)),
        degraded_reasons=sorted(reasons),
        services=services,
        workers=WorkerCounts(
            total=len(engines),
            warm=sum(worker.is_warm for worker in engines),
            warming=sum(not worker.is_warm and not worker.has_failed for worker in engines),
            failed=sum(worker.has_failed for worker in engines),
            by_stage={
                stage: StageCount(warm=standing.warm, required=required.get(stage, 0))
                for stage, standing in stages.items()
            },
        ),
        startup_time_ms=min((worker.startup_time_ms for worker in engines if worker.startup_time_ms), default=None),
        errors=errors,
    )


_AS_REPORTED = {"status", "detail", "engine", "model", "device", "dtype", "load_time_ms", "warmup_time_ms"}


class _Standing:
    """How one stage stands with all workers that serve it. `needed` is None where the stage is not required."""

    def __init__(self, stage: Stage, workers: Sequence[WorkerReport], needed: int | None) -> None:
        self.stage = stage
        self.critical = needed is not None
        self.reports = [worker.stages[stage] for worker in workers if stage in worker.stages]
        self.cold = [report for report in self.reports if report.status is not EngineStatus.READY]
        self.warm = len(self.reports) - len(self.cold)
        self.needed = 1 if needed is None else needed
        self.lacking = max(0, self.needed - self.warm)

    def service(self) -> ServiceReport:
        """The stage as that worker has it which is furthest."""
        if not self.reports:
            return ServiceReport(ready=False, status=EngineStatus.WAITING, critical=self.critical)
        furthest = max(self.reports, key=_furthest)
        failed = next((report.error for report in self.reports if report.status is EngineStatus.FAILED), None)
        return ServiceReport(
            ready=furthest.status is EngineStatus.READY,
            critical=self.critical,
            eta_s=self.eta(),
            error=furthest.error or failed,
            **furthest.model_dump(include=_AS_REPORTED),
        )

    def progress(self) -> int:
        """How far the workers are that are needed: those that are furthest."""
        furthest = sorted((report.progress for report in self.reports), reverse=True)[: self.needed]
        return sum(furthest) // self.needed

    def eta(self) -> Spread | None:
        """Until the last of the workers is warm that are needed; None where it is warm, or nobody can tell."""
        etas = [report.eta_s for report in self.cold if report.eta_s is not None]
        if not 0 < self.lacking <= len(etas):
            return None
        last = self.lacking - 1
        return Spread(p50=sorted(eta.p50 for eta in etas)[last], p90=sorted(eta.p90 for eta in etas)[last])

    def status(self) -> EngineStatus | None:
        """How far that worker is which is next to become warm. Failed: all others have. None: there is no other."""
        return max(self.cold, key=_furthest).status if self.cold else None

    def shortage(self) -> Iterator[str]:
        """That fewer workers serve the stage than are needed, so that waiting alone will not help."""
        serving = len(self.reports)
        if serving == 0 < self.needed:
            yield f"{self.stage}: no worker serves it. Start {self.needed}."
        elif serving < self.needed:
            serve = "serves" if serving == 1 else "serve"
            standing = f"{self.warm} of {self.needed} workers that are needed have it warm"
            yield f"{self.stage}: {standing}, and only {serving} {serve} it. Start more, or ask for fewer."

    def loss(self) -> Iterator[str]:
        """Why the stage is not there, if nobody has it warm nor is about to."""
        if self.warm == 0 and not self.reports:
            yield f"{self.stage} is not there: no worker serves it. Start one, or say that none is expected."
        elif self.warm == 0 and self.status() is EngineStatus.FAILED:
            yield f"{self.stage} is not there: it has failed in every worker that serves it."


def _furthest(report: StageReport) -> tuple[bool, int]:
    return report.status is not EngineStatus.FAILED, report.progress


def _slowest(asked: Sequence[_Standing]) -> Spread | None:
    etas = [standing.eta() for standing in asked if standing.lacking]
    known = [eta for eta in etas if eta is not None]
    if not known or len(known) < len(etas):
        return None
    return Spread(p50=max(eta.p50 for eta in known), p90=max(eta.p90 for eta in known))


def _state(ready: bool, asked: Sequence[_Standing], engines: Sequence[WorkerReport]) -> FleetState:
    if ready:
        return FleetState.READY
    if not engines:
        return FleetState.INITIALIZING
    statuses = {standing.status() for standing in asked if standing.lacking}
    if EngineStatus.FAILED in statuses:
        return FleetState.ERROR
    if statuses == {None}:  # nothing is being loaded: what is missing is a worker that has not come yet
        return FleetState.INITIALIZING
    return FleetState.WARMING_UP if EngineStatus.WARMING in statuses else FleetState.LOADING_MODELS
