"""Puts the fleet's report together: what the workers say of themselves, and what waits for them."""

from redis.exceptions import RedisError

from api.counts import QueueCounts
from voxqueue.fleet import Fleet, FleetReport, FleetState, QueueReport, Requirement, assess
from voxqueue.stages import Stage


def fleet_report(fleet: Fleet, counts: QueueCounts, requirement: Requirement) -> FleetReport:
    """How the fleet stands against what is asked of it. Never raises: what does not answer is part of the report."""
    report = _assessed(fleet, requirement)
    report.queues = _queues(counts)
    return report


def _assessed(fleet: Fleet, requirement: Requirement) -> FleetReport:
    try:
        return assess(fleet.workers(), requirement)
    except RedisError:
        nobody_knows = "Redis does not answer, so nobody knows which workers are warm."
        return assess([], requirement).model_copy(update={"state": FleetState.ERROR, "errors": [nobody_knows]})


def _queues(counts: QueueCounts) -> dict[Stage, QueueReport] | None:
    found = counts.get()
    if found is None:
        return None
    return {
        stage: QueueReport(depth=count.depth, running=count.running, oldest_age_s=count.oldest_age_s)
        for stage, count in found.items()
    }
