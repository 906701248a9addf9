"""Puts together what operators look at. Never raises: what does not answer is left out."""

import threading
import time
from datetime import UTC, datetime

from redis.exceptions import RedisError

from api.counts import QueueCounts
from api.schemas.operations import OperationsView, Statistics
from voxqueue.database.session import Sessions, database_errors
from voxqueue.errors import DatabaseUnavailable
from voxqueue.fleet import Fleet, WorkerReport
from voxqueue.jobs import statistics


class Operations:
    """What operators look at, counted once however many ask."""

    FRESH_S = 1.0
    SHARE = 0.05  # of one connection's time, at most: a count that takes long is kept for longer
    STALEST_S = 30.0

    def __init__(self, sessions: Sessions, fleet: Fleet, counts: QueueCounts, flower_url: str | None) -> None:
        self._sessions = sessions
        self._fleet = fleet
        self._counts = counts
        self._flower_url = flower_url
        self._lock = threading.Lock()
        self._fresh_until = float("-inf")
        self._statistics: Statistics | None = None

    def get(self, tenant: str) -> OperationsView:
        """The fleet at work, for an operator of this tenant; what took long to count may be up to `STALEST_S` old."""
        found = self._latest()
        return OperationsView(
            at=datetime.now(UTC),
            workers=self.workers(),
            queues=self._counts.reports(),
            statistics=found.seen_by(tenant) if found else None,
            flower_url=self._flower_url,
        )

    def workers(self) -> list[WorkerReport] | None:
        """What each worker says of itself; None while Redis is away."""
        try:
            return self._fleet.workers()
        except RedisError:
            return None

    def _latest(self) -> Statistics | None:
        with self._lock:
            began = time.monotonic()
            if began >= self._fresh_until:
                self._statistics = self._count()
                took = time.monotonic() - began if self._statistics is not None else 0.0
                self._fresh_until = began + max(self.FRESH_S, min(took / self.SHARE, self.STALEST_S))
            return self._statistics

    def _count(self) -> Statistics | None:
        try:
            with database_errors(), self._sessions() as session:
                return Statistics.model_validate(
                    {
                        "throughput": statistics.throughput(session),
                        "paces": statistics.paces(session),
                        "failures": statistics.failure_reasons(session),
                    }
                )
        except DatabaseUnavailable:
            return None
