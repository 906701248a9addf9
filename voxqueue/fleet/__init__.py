"""The fleet: what each worker says it has warm, and what the readiness endpoint makes of it, whoever asks."""

from voxqueue.fleet.assessment import Requirement, assess
from voxqueue.fleet.heartbeats import Fleet
from voxqueue.fleet.reports import (
    EngineStatus,
    FleetReport,
    FleetState,
    QueueReport,
    ServiceReport,
    StageReport,
    Voice,
    VoicesReport,
    WorkerReport,
)

__all__ = [
    "EngineStatus",
    "Fleet",
    "FleetReport",
    "FleetState",
    "QueueReport",
    "Requirement",
    "ServiceReport",
    "StageReport",
    "Voice",
    "VoicesReport",
    "WorkerReport",
    "assess",
]
