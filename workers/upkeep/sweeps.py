"""The two sweeps there are, put together: what jobs wait for, and what may take its time."""

from sqlalchemy import Engine

from voxqueue.database.session import Sessions
from voxqueue.jobs.changes import Announcer
from voxqueue.queue import JobQueue
from voxqueue.settings import JobsSettings
from voxqueue.storage import BlobStore
from workers.upkeep.blobs import DoomedBlobs, OrphanBlobs
from workers.upkeep.jobs import Expiry, LostHints, LostLeases
from workers.upkeep.retention import retention_chores
from workers.upkeep.sweeper import Chore, Lock, Outages, Sweeper


def jobs_sweep(
    engine: Engine, sessions: Sessions, queue: JobQueue, announcer: Announcer, settings: JobsSettings
) -> Sweeper:
    """Sees to jobs that nobody works on. Never waits for the store."""
    outages = Outages(settings.lease_s)
    chores: dict[str, Chore] = {
        "the return of lost jobs": LostLeases(sessions, queue, announcer, settings, outages),
        "expiry": Expiry(sessions, queue, announcer, settings),
        "the sending of lost hints": LostHints(sessions, queue, settings),
    }
    return Sweeper(engine, Lock.JOBS, chores, outages)


def cleaning_sweep(engine: Engine, sessions: Sessions, store: BlobStore, settings: JobsSettings) -> Sweeper:
    """Removes what nobody needs any more, from the database and from the store."""
    chores: dict[str, Chore] = {
        **retention_chores(sessions, settings.keep_days),
        "removal of doomed blobs": DoomedBlobs(sessions, store),
        "removal of orphan blobs": OrphanBlobs(engine, store, settings.orphan_s),
    }
    return Sweeper(engine, Lock.CLEANING, chores, Outages(settings.lease_s))
