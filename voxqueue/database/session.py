"""Connections to Postgres. One engine per process; the edge decides where a transaction ends."""

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.errors import ReadOnlySqlTransaction, UndefinedColumn, UndefinedTable
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from voxqueue.errors import DatabaseUnavailable
from voxqueue.settings import DatabaseSettings

Sessions = sessionmaker[Session]

_LATELY_S = 1.0


def open_engine(settings: DatabaseSettings) -> Engine:
    """Connect lazily: a database that is away is noticed by the first query, not here."""
    engine = create_engine(
        settings.require_url(),
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=5,
        hide_parameters=True,  # its errors are logged, and parameters are what people said and asked for
        connect_args={
            "connect_timeout": 5,
            "options": "-c statement_timeout=30000",
            # A host that vanishes without a word is noticed within seconds, not after the kernel's quarter of an hour.
            "tcp_user_timeout": 10_000,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "target_session_attrs": "read-write",  # after a failover, not the server that became a standby
        },
    )
    _replace_dead_connections(engine)
    return engine


def _replace_dead_connections(engine: Engine) -> None:
    """Do as `pool_pre_ping` does, which asks the server whenever a connection is taken: one round trip more for each
    transaction.

    A connection that was in use a moment ago is asked only if something has come from its server meanwhile: a server
    that stops says so, or its system closes the connection.
    """

    @event.listens_for(engine, "checkin")
    def note(_: object, entry: ConnectionPoolEntry) -> None:
        entry.info["returned_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def check(connection: Any, entry: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
        returned_at = entry.info.get("returned_at")
        if returned_at is None:  # just made
            return
        try:
            if time.monotonic() - returned_at > _LATELY_S or _has_news(connection):
                engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise InvalidatePoolError from error


def _has_news(connection: psycopg.Connection) -> bool:
    """Whether the server has sent something that nobody asked for, or has gone. Raises `psycopg.Error`."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def open_sessions(engine: Engine) -> Sessions:
    """The factory of sessions. Objects stay readable after the commit, since the edge renders them then."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn a database that is away into `DatabaseUnavailable`; every other error is a bug and passes through."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise DatabaseUnavailable("The database does not answer. Try again shortly.", retry_after=5) from error
    except DBAPIError as error:
        if isinstance(error.orig, UndefinedTable | UndefinedColumn):
            raise DatabaseUnavailable("The database lacks our schema: run `voxqueue migrate`.") from error
        if error.connection_invalidated or isinstance(error.orig, ReadOnlySqlTransaction):
            raise DatabaseUnavailable("The database went away. Try again shortly.", retry_after=5) from error
        raise
