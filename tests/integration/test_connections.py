"""The pool's connections: those that are gone are replaced unnoticed; those in steady use are asked nothing."""

import time
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine, text

from voxqueue.database.session import open_engine
from voxqueue.settings import DatabaseSettings
from voxqueue.urls import for_psql


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(DatabaseSettings(url=database_url))
    yield engine
    engine.dispose()


@pytest.fixture
def beside(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection that has nothing to do with the pool."""
    with psycopg.connect(for_psql(database_url), autocommit=True) as connection:
        yield connection


def _use(engine: Engine) -> int:
    """Ask something, and say which of the server's processes has answered."""
    with engine.begin() as connection:
        return int(connection.scalar(text("SELECT pg_backend_pid()")))


def _last_query(beside: psycopg.Connection, pid: int) -> str:
    row = beside.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
    assert row
    return str(row[0])


def _take(engine: Engine) -> None:
    """Take a connection and put it back, without asking anything."""
    with engine.connect():
        pass


def test_a_connection_that_was_just_in_use_is_not_asked_whether_it_is_there(
    engine: Engine, beside: psycopg.Connection
) -> None:
    pid = _use(engine)
    _take(engine)
    assert _last_query(beside, pid) == "COMMIT"


def test_a_connection_that_lay_idle_is_asked(engine: Engine, beside: psycopg.Connection) -> None:
    pid = _use(engine)
    time.sleep(1.1)
    _take(engine)
    assert _last_query(beside, pid) != "COMMIT"
    assert _use(engine) == pid


def test_connections_that_the_server_has_just_ended_are_replaced(engine: Engine, beside: psycopg.Connection) -> None:
    with engine.connect() as one, engine.connect() as other:
        pids = {int(each.scalar(text("SELECT pg_backend_pid()"))) for each in (one, other)}
    for pid in pids:
        beside.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with engine.connect() as one, engine.connect() as other:
        assert pids.isdisjoint(int(each.scalar(text("SELECT pg_backend_pid()"))) for each in (one, other))


def test_a_connection_on_which_the_server_only_had_something_to_tell_stays(
    engine: Engine, beside: psycopg.Connection
) -> None:
    with engine.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        connection.execute(text("LISTEN news"))
        connection.commit()
    beside.execute("NOTIFY news")
    give_up_at = time.monotonic() + 10
    while _last_query(beside, pid) == "COMMIT":  # not asked yet: the news is on its way
        assert time.monotonic() < give_up_at
        _take(engine)
    assert _use(engine) == pid
