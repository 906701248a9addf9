"""What the requests of one process share: opened when the server starts, closed when it stops."""

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from api.admission import Admission
from api.auth import KnownKeys
from api.counts import FleetVoices, QueueCounts
from api.fleet_report import FleetReports
from api.following import FleetFeed, JobFeed
from api.limits import RateLimit
from api.operations import Operations
from api.schemas.events import show_line
from api.waiting import JobWatch, called_when_stopping
from voxqueue.audio.confined import Examiner, open_examiner
from voxqueue.database.session import Sessions, database_errors, open_engine, open_sessions
from voxqueue.fleet import Fleet
from voxqueue.jobs import repository
from voxqueue.jobs.changes import Announcer
from voxqueue.jobs.repository import JobLine
from voxqueue.queue import JobQueue
from voxqueue.settings import Settings
from voxqueue.storage import BlobStore, open_store
from voxqueue.webhooks.names import Names


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a route may use. Safe to share between threads."""

    settings: Settings
    sessions: Sessions
    readers: Sessions
    store: BlobStore
    queue: JobQueue
    announcer: Announcer
    fleet: Fleet
    watch: JobWatch
    queues: QueueCounts
    voices: FleetVoices
    job_feed: JobFeed
    fleet_reports: FleetReports
    fleet_feed: FleetFeed
    keys: KnownKeys
    rate_limit: RateLimit
    admission: Admission
    examiner: Examiner
    names: Names
    operations: Operations

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction, committed at the end of the block. Raises `DatabaseUnavailable`."""
        with database_errors(), self.sessions.begin() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """For one statement that only reads: by itself it costs one round trip, in a transaction three.

        Raises `DatabaseUnavailable`.
        """
        with database_errors(), self.readers() as session:
            yield session

    def check_database(self) -> None:
        """Raise `DatabaseUnavailable` if it does not answer."""
        with self.reading() as session:
            session.execute(text("SELECT 1"))


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Open it all. Neither the database, nor Redis, nor the store need to answer yet.

    Raises:
        MisconfiguredError: An address is missing.
    """
    async with AsyncExitStack() as stack:
        engine = open_engine(settings.database)
        stack.callback(engine.dispose)
        sessions = open_sessions(engine)
        store = open_store(settings)
        examiner = stack.enter_context(open_examiner())
        queue = JobQueue(settings)
        stack.callback(queue.close)
        fleet = Fleet(settings.redis, settings.worker)
        stack.callback(fleet.close)
        announcer = Announcer(settings.redis)
        stack.callback(announcer.close)
        watch = JobWatch(settings.redis)
        await stack.enter_async_context(watch.listening())
        stack.enter_context(called_when_stopping(watch.stop))
        rate_limit = RateLimit(settings.limits.requests, settings.redis)
        stack.callback(rate_limit.close)
        admission = Admission(sessions, settings.limits)
        stack.callback(admission.close)
        counts = QueueCounts(sessions)
        stack.callback(counts.close)
        # Here as well: a stage in the settings that does not exist is better found now than by a health check.
        reports = FleetReports(fleet, counts, settings.ready)

        def load(job_ids: Collection[UUID]) -> list[JobLine]:
            with database_errors(), sessions() as session:
                return repository.lines(session, job_ids)

        job_feed = JobFeed(watch, load, show_line)
        await stack.enter_async_context(job_feed.running())
        yield Services(
            settings=settings,
            sessions=sessions,
            readers=open_sessions(engine.execution_options(isolation_level="AUTOCOMMIT")),
            store=store,
            queue=queue,
            announcer=announcer,
            fleet=fleet,
            watch=watch,
            queues=counts,
            voices=FleetVoices(fleet),
            keys=KnownKeys(sessions),
            rate_limit=rate_limit,
            admission=admission,
            examiner=examiner,
            names=Names(settings.webhooks),
            operations=Operations(sessions, fleet, counts, settings.flower.url),
            job_feed=job_feed,
            fleet_reports=reports,
            fleet_feed=FleetFeed(watch, reports),
        )
