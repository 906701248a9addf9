"""What many requests ask for and one look a second answers: what waits, and which voices there are."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from redis.exceptions import RedisError

from api.questions import Question
from voxqueue.database.session import Sessions, database_errors
from voxqueue.errors import Unavailable
from voxqueue.fleet import Fleet, QueueReport, VoicesReport
from voxqueue.jobs import repository
from voxqueue.jobs.repository import StageQueue
from voxqueue.stages import Stage


class QueueCounts:
    """What waits at each stage, counted at most once a second however many ask."""

    FRESH_S = 1.0
    WAIT_S = 1.0  # readiness is asked for most where something hangs, and the rest of it is known without

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._lock = threading.Lock()
        self._counted_at = float("-inf")
        self._counts: dict[Stage, StageQueue] | None = None
        self._background = ThreadPoolExecutor(1, thread_name_prefix="counts")
        self._question = Question(self._count, self._background, self.WAIT_S)

    def get(self) -> dict[Stage, StageQueue] | None:
        """The counts, or None while the database is away or does not answer in time."""
        with self._lock:
            if time.monotonic() - self._counted_at > self.FRESH_S:
                self._counts = self._question.ask()()
                self._counted_at = time.monotonic()
            return self._counts

    def close(self) -> None:
        self._background.shutdown(wait=False, cancel_futures=True)

    def reports(self) -> dict[Stage, QueueReport] | None:
        """The same, as callers are shown them."""
        found = self.get()
        if found is None:
            return None
        return {
            stage: QueueReport(depth=count.depth, running=count.running, oldest_age_s=count.oldest_age_s)
            for stage, count in found.items()
        }

    def _count(self) -> dict[Stage, StageQueue]:
        with database_errors(), self._sessions() as session:
            return repository.queues(session)


class FleetVoices:
    """The voices that workers have warm, fetched at most once a second however many ask."""

    FRESH_S = 1.0

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._lock = threading.Lock()
        self._fetched_at = float("-inf")
        self._reports: list[VoicesReport] | None = None

    def get(self) -> list[VoicesReport]:
        """What each worker has. Raises `Unavailable` while Redis is away."""
        if (reports := self._latest()) is None:
            raise Unavailable("Redis does not answer, so nobody knows which voices there are.", retry_after=2)
        return reports

    def may_know(self, name: str) -> bool:
        """Whether a worker may have the voice of this name: so it is as long as none has said which it has."""
        reports = self._latest()
        return not reports or any(report.knows(name) for report in reports)

    def _latest(self) -> list[VoicesReport] | None:
        with self._lock:
            if time.monotonic() - self._fetched_at > self.FRESH_S:
                try:
                    self._reports = self._fleet.voices()
                except RedisError:
                    self._reports = None
                self._fetched_at = time.monotonic()
            return self._reports
