"""Chores about blobs: those whose rows are gone, and those of which no row has ever spoken.

The latter are what an API or a worker leaves that is killed between storing and commit, and the speech of a claim that
was lost meanwhile.
"""

import logging
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from io import BytesIO
from itertools import chain, islice

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from voxqueue.database.session import Sessions
from voxqueue.errors import StorageUnavailable
from voxqueue.jobs import blobs, repository
from voxqueue.storage import BlobsKept, BlobStore, Listed
from workers.upkeep.sweeper import Lock, try_lock, unlock

log = logging.getLogger(__name__)

_LIMIT = 1000  # keys per sweep; what S3 lists and deletes in one request
_ENOUGH = 500  # blobs that say something of the whole store
_CLOCK = "upkeep/clock"


class DoomedBlobs:
    """Removes blobs from the store, then the note of them: a crash in between only repeats the removal.

    A blob that the store keeps, one under a legal hold perhaps, is tried again after all the others.
    """

    def __init__(self, sessions: Sessions, store: BlobStore) -> None:
        self._sessions = sessions
        self._store = store

    def __call__(self) -> None:
        with self._sessions() as session:
            keys = repository.doomed(session, _LIMIT)
        if not keys:
            return
        kept = _remove(self._store, keys)
        with self._sessions.begin() as session:
            repository.forget_doomed(session, set(keys).difference(kept))
            repository.postpone_doomed(session, kept)


class OrphanBlobs:
    """Walks over the store, some blobs per call, and removes those of ours that are old and that no row speaks of. What
    killed puts have left goes first.

    A blob is there before its row. How old it is, the store's own clock says, at both ends: a walk begins with a blob
    that is put only to learn what time it is there. What the database's clock, or ours, makes of it does not matter.

    One worker of the fleet walks, for as long as it lives: its connection holds a lock.
    """

    def __init__(self, engine: Engine, store: BlobStore, orphan_s: float) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._store = store
        self._orphan_s = orphan_s
        self._connection: Connection | None = None
        self._walk: Iterator[Listed] | None = None
        self._stored_before: datetime | None = None
        self._next_walk_at = 0.0

    def __call__(self) -> None:
        try:
            if self._may_walk() and self._is_walking():
                self._go_on()
        except DBAPIError:
            self.leave()
            raise

    def leave(self) -> None:
        """Let another worker walk."""
        connection, self._connection, self._walk = self._connection, None, None
        if connection is None:
            return
        try:
            unlock(connection, Lock.WALK)
        except DBAPIError:
            connection.invalidate()  # in the pool, it would keep the lock
        finally:
            connection.close()

    def _may_walk(self) -> bool:
        if self._connection is None:
            with ExitStack() as unless_kept:
                connection = unless_kept.enter_context(self._engine.connect())
                if not try_lock(connection, Lock.WALK, until_commit=False):
                    return False
                unless_kept.pop_all()
            self._connection = connection
        return True

    def _is_walking(self) -> bool:
        """Begin to walk if it is time to. Whether there is a walk to go on with."""
        if self._walk is None and time.monotonic() >= self._next_walk_at:
            self._next_walk_at = time.monotonic() + self._orphan_s
            self._stored_before = self._time_at_the_store() - timedelta(seconds=self._orphan_s)
            if unfinished := self._store.remove_unfinished(self._stored_before):
                log.warning("removed %d files that killed puts have left", unfinished)
            self._walk = chain.from_iterable(self._store.list(folder) for folder in blobs.FOLDERS)
        return self._walk is not None

    def _go_on(self) -> None:
        assert self._walk is not None
        assert self._connection is not None
        assert self._stored_before is not None
        walk, self._walk = self._walk, None  # which is over if the store fails
        seen = list(islice(walk, _LIMIT))
        old = [one.key for one in seen if one.modified < self._stored_before and blobs.is_ours(one.key)]
        orphans = blobs.unknown(self._connection, old)
        if len(old) >= _ENOUGH and len(orphans) > len(old) / 2:
            log.error(
                "of %d stored recordings and speeches, the database knows only %d; nothing is removed. Do the settings "
                "name this store's own database, or does another installation use the same store?",
                *(len(old), len(old) - len(orphans)),
            )
            return
        if orphans:
            kept = _remove(self._store, orphans)
            log.warning("removed %d blobs that no row spoke of", len(orphans) - len(kept))
        if len(seen) == _LIMIT:
            self._walk = walk

    def _time_at_the_store(self) -> datetime:
        self._store.put(_CLOCK, BytesIO(), media_type="application/octet-stream")
        found = [one.modified for one in self._store.list(_CLOCK) if one.key == _CLOCK]
        self._store.delete([_CLOCK])
        if not found:
            raise StorageUnavailable("The store does not list what was just put into it.")
        return found[0]


def _remove(store: BlobStore, keys: Collection[str]) -> Collection[str]:
    """Returns those that the store keeps."""
    try:
        store.delete(keys)
    except BlobsKept as error:
        log.warning("%d of %d blobs could not be removed: %s", len(error.keys), len(keys), error.detail)
        return error.keys
    return ()
