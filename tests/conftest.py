"""Real servers for every test that asks for one: Postgres and Redis per test process, empty for each module."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import hypothesis
import psycopg
import pytest
import redis
from sqlalchemy import text

from tests.receiver import Receiver, receiving
from voxqueue.database.migrate import upgrade
from voxqueue.database.session import Sessions, open_engine, open_sessions
from voxqueue.embedded import embedded_postgres, embedded_redis
from voxqueue.settings import DatabaseSettings
from voxqueue.urls import for_psql

# Test processes share the cores: with threads of their own, torch and CTranslate2 would mostly wait for one another.
# Read when these are imported, here and in the workers that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell has what it runs in the background ignore Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on what else the machine does, and on whether it is the first to load something.
hypothesis.settings.register_profile("without deadlines", parent=hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("without deadlines")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a server whose database ``voxqueue`` is migrated and serves as the template of the others."""
    # Not under pytest's own folder: run as root, the server is another user, and pytest shuts others out of there.
    with TemporaryDirectory(prefix="voxqueue-test-") as folder, embedded_postgres(Path(folder), durable=False) as url:
        upgrade(url)
        yield url


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis that keeps nothing on disk."""
    with embedded_redis(tmp_path_factory.mktemp("redis"), durable=False) as url:
        yield url


@pytest.fixture(scope="module")
def redis_url(redis_server: str) -> str:
    """The address of a Redis without the hints, workers and counts of the modules before."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="module")
def database_url(postgres: str) -> str:
    """A database of the module's own, with the newest schema."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(for_psql(postgres), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE voxqueue")
    return postgres.replace("/voxqueue?", f"/{name}?")


@pytest.fixture(scope="module")
def _sessions(database_url: str) -> Iterator[Sessions]:
    engine = open_engine(DatabaseSettings(url=database_url))
    yield open_sessions(engine)
    engine.dispose()


@pytest.fixture
def sessions(_sessions: Sessions) -> Sessions:
    """Sessions on the module's database, emptied before each test."""
    with _sessions.begin() as session:
        ours = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        session.execute(text(f"TRUNCATE {', '.join(session.scalars(text(ours)))}"))
    return _sessions


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    """A folder for blobs."""
    folder = tmp_path / "blobs"
    folder.mkdir()
    return folder


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks that takes everything."""
    with receiving() as one:
        yield one
