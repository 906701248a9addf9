"""Puts the fleet's report together: what the workers say of themselves, and what waits for them.

Once for all who ask within a moment, so that thousands who poll cost Redis a few looks a second. Lives on the event
loop; it looks in a thread.
"""

import asyncio
import time
from contextlib import suppress
from functools import cached_property

from anyio import to_thread
from redis.exceptions import RedisError

from api.counts import QueueCounts
from voxqueue.fleet import (
    Fleet,
    FleetBrief,
    FleetReport,
    FleetState,
    QueueReport,
    Requirement,
    WorkerReport,
    assess,
)
from voxqueue.settings import ReadySettings
from voxqueue.stages import Stage


class Told:
    """A report as it goes over the wire: made once, however many get it."""

    def __init__(self, report: FleetReport) -> None:
        self.report = report

    @cached_property
    def whole(self) -> str:
        return self.report.model_dump_json()

    @cached_property
    def brief(self) -> str:
        """For strangers."""
        return FleetBrief.of(self.report).model_dump_json()

    @cached_property
    def standing(self) -> FleetReport:
        """The report without its queues, of which there is something new all the time."""
        return self.report.model_copy(update={"queues": None})


class FleetReports:
    """How the fleet stands against what is asked of it. Never raises: what does not answer is part of the report."""

    FRESH_S = 0.25

    def __init__(self, fleet: Fleet, counts: QueueCounts, settings: ReadySettings) -> None:
        self.usual = Requirement.of(settings)
        self._fleet = fleet
        self._counts = counts
        self._asking = asyncio.Lock()
        self._fresh_until = float("-inf")
        self._workers: list[WorkerReport] | None = None
        self._queues: dict[Stage, QueueReport] | None = None
        self._told: dict[tuple[str, tuple[Stage, ...]], Told] = {}

    async def latest(self, requirement: Requirement | None = None) -> Told:
        """The report, at most `FRESH_S` old. Without a requirement, against the one in the settings."""
        wanted = requirement or self.usual
        if (told := self._told_already(wanted)) is None:
            async with self._asking:
                if (told := self._told_already(wanted)) is None:
                    told = await to_thread.run_sync(self._tell, wanted)
        return told

    def _told_already(self, requirement: Requirement) -> Told | None:
        is_fresh = time.monotonic() < self._fresh_until
        return self._told.get((requirement.name, requirement.optional)) if is_fresh else None

    def _tell(self, requirement: Requirement) -> Told:
        """One thread at a time is in here."""
        if time.monotonic() >= self._fresh_until:
            self._look()
        report = self._assess(requirement)
        report.queues = self._queues
        told = self._told[requirement.name, requirement.optional] = Told(report)
        return told

    def _look(self) -> None:
        self._told = {}
        try:
            self._workers = self._fleet.workers()
        except RedisError:
            self._workers = None
        self._queues = self._counts.reports()
        self._fresh_until = time.monotonic() + self.FRESH_S

    def _assess(self, requirement: Requirement) -> FleetReport:
        report = assess(self._workers or [], requirement)
        if self._workers is None:
            nobody_knows = "Redis does not answer, so nobody knows which workers are warm."
            return report.model_copy(update={"state": FleetState.ERROR, "errors": [nobody_knows]})
        with suppress(RedisError):  # it has gone between two looks; the next one says so
            if report.ready:
                self._fleet.arrive(requirement.name)
            else:
                report.progress = self._fleet.get_on(requirement.name, report.progress)
        return report
