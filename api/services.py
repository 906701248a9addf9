"""What the requests of one process share: opened when the server starts, closed when it stops."""

import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.orm import Session

from api.waiting import JobWatch, called_when_stopping
from voxqueue.database.session import Sessions, database_errors, open_engine, open_sessions
from voxqueue.errors import DatabaseUnavailable, Unavailable
from voxqueue.fleet import Fleet, Requirement, VoicesReport
from voxqueue.jobs import repository
from voxqueue.jobs.changes import Announcer
from voxqueue.jobs.repository import StageQueue
from voxqueue.queue import JobQueue
from voxqueue.settings import Settings
from voxqueue.stages import Stage
from voxqueue.storage import BlobStore, open_store


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a route may use. Safe to share between threads."""

    settings: Settings
    sessions: Sessions
    store: BlobStore
    queue: JobQueue
    announcer: Announcer
    fleet: Fleet
    watch: JobWatch
    queues: "QueueCounts"
    voices: "FleetVoices"

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction, committed at the end of the block. Raises `DatabaseUnavailable`."""
        with database_errors(), self.sessions.begin() as session:
            yield session

    def check_database(self) -> None:
        """Raise `DatabaseUnavailable` if it does not answer."""
        with self.transaction() as session:
            session.execute(text("SELECT 1"))


class QueueCounts:
    """What waits at each stage, counted at most once a second however many ask."""

    FRESH_S = 1.0

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._lock = threading.Lock()
        self._counted_at = float("-inf")
        self._counts: dict[Stage, StageQueue] | None = None

    def get(self) -> dict[Stage, StageQueue] | None:
        """The counts, or None while the database is away."""
        with self._lock:
            if time.monotonic() - self._counted_at > self.FRESH_S:
                self._counts = self._count()
                self._counted_at = time.monotonic()
            return self._counts

    def _count(self) -> dict[Stage, StageQueue] | None:
        try:
            with database_errors(), self._sessions() as session:
                return repository.queues(session)
        except DatabaseUnavailable:
            return None


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


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Open it all. Neither the database, nor Redis, nor the store need to answer yet.

    Raises:
        MisconfiguredError: An address is missing.
    """
    Requirement.of(settings.ready)  # a stage that does not exist is better found now than by a health check
    async with AsyncExitStack() as stack:
        engine = open_engine(settings.database)
        stack.callback(engine.dispose)
        sessions = open_sessions(engine)
        store = open_store(settings)
        queue = JobQueue(settings)
        stack.callback(queue.close)
        fleet = Fleet(settings.redis, settings.worker)
        stack.callback(fleet.close)
        announcer = Announcer(settings.redis)
        stack.callback(announcer.close)
        watch = JobWatch(settings.redis)
        await stack.enter_async_context(watch.listening())
        stack.enter_context(called_when_stopping(watch.stop))
        counts, voices = QueueCounts(sessions), FleetVoices(fleet)
        yield Services(settings, sessions, store, queue, announcer, fleet, watch, counts, voices)
