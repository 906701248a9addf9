"""The fleet: what each worker says it has warm, and what the readiness endpoint makes of it, whoever asks."""

from voxqueue.fleet.assessment import Requirement, assess
from voxqueue.fleet.heartbeats import Fleet
from voxqueue.fleet.reports import (
    EngineStatus,
    FleetBrief,
    FleetReport,
    FleetState,
    Gpu,
    MachineReport,
    QueueReport,
    ServiceReport,
    Spread,
    StageReport,
    Voice,
    VoicesReport,
    WorkerReport,
)

__all__ = [
    "EngineStatus",
    "Fleet",
    "FleetBrief",
    "FleetReport",
    "FleetState",
    "Gpu",
    "MachineReport",
    "QueueReport",
    "Requirement",
    "ServiceReport",
    "Spread",
    "StageReport",
    "Voice",
    "VoicesReport",
    "WorkerReport",
    "assess",
]
