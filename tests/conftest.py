"""Real servers for every test that asks for one: Postgres and Redis per test process, a database per module."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import text

from voxqueue.database.migrate import upgrade
from voxqueue.database.session import Sessions, open_engine, open_sessions
from voxqueue.embedded import embedded_postgres, embedded_redis
from voxqueue.settings import DatabaseSettings

# Test processes share the cores: with threads of their own, torch and CTranslate2 would mostly wait for one another.
# Read when these are imported, here and in the workers that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a server whose database ``voxqueue`` is migrated and serves as the template of the others."""
    # Not under pytest's own folder: run as root, the server is another user, and pytest shuts others out of there.
    with TemporaryDirectory(prefix="voxqueue-test-") as folder, embedded_postgres(Path(folder), durable=False) as url:
        upgrade(url)
        yield url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis that keeps nothing."""
    with embedded_redis(tmp_path_factory.mktemp("redis"), durable=False) as url:
        yield url


@pytest.fixture(scope="module")
def database_url(postgres: str) -> str:
    """A database of the module's own, with the newest schema."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(postgres.replace("postgresql+psycopg", "postgresql"), autocommit=True) as connection:
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
        tables = "jobs, notes, doomed_blobs, api_keys, webhook_endpoints, signing_secrets, events"
        session.execute(text(f"TRUNCATE {tables} CASCADE"))
    return _sessions


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    """A folder for blobs."""
    folder = tmp_path / "blobs"
    folder.mkdir()
    return folder
