"""Connections to Postgres. One engine per process; the edge decides where a transaction ends."""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.errors import ReadOnlySqlTransaction, UndefinedColumn, UndefinedTable
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from voxqueue.errors import DatabaseUnavailable
from voxqueue.settings import DatabaseSettings

Sessions = sessionmaker[Session]


def open_engine(settings: DatabaseSettings) -> Engine:
    """Connect lazily: a database that is away is noticed by the first query, not here."""
    return create_engine(
        settings.require_url(),
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
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
