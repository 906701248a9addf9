"""The API on a real port, with a database of the module's own, the process's Redis, and blobs in a folder."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from sqlalchemy import func, select

from api.app import create_app
from voxqueue.database.session import Sessions
from voxqueue.jobs.models import Job, Note, StageRun
from voxqueue.settings import DatabaseSettings, LimitsSettings, RedisSettings, Settings, StorageSettings

LIMITS = LimitsSettings(upload_bytes=2_000_000, text_chars=1_000, instructions_chars=200, wait_seconds=5)

Left = tuple[int, int, int, list[str]]


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Run the API in a thread; yields its address."""
    config = uvicorn.Config(create_app(settings), port=0, log_config=None, access_log=False, timeout_keep_alive=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="api")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the API did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive(), "the API does not end"


@pytest.fixture(scope="module")
def api_settings(database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Small limits, so that tests need little to go beyond them."""
    return Settings(
        database=DatabaseSettings(url=database_url),
        redis=RedisSettings(url=redis_url),
        storage=StorageSettings(dir=tmp_path_factory.mktemp("blobs")),
        limits=LIMITS,
    )


@pytest.fixture(scope="module")
def api_url(api_settings: Settings) -> Iterator[str]:
    with serving(api_settings) as url:
        yield url


@pytest.fixture
def api(api_url: str, sessions: Sessions) -> Iterator[httpx.Client]:
    """A client of an API that has no jobs."""
    with httpx.Client(base_url=api_url, timeout=20) as client:
        yield client


@pytest.fixture
def left(sessions: Sessions, api_settings: Settings) -> Callable[[], Left]:
    """What is stored that was not before: the numbers of jobs, stage runs and notes, and the names of files."""
    folder = api_settings.storage.dir
    assert folder is not None
    before = set(_files(folder))

    def count() -> Left:
        with sessions() as session:
            jobs, runs, notes = (
                session.scalar(select(func.count()).select_from(table)) or 0 for table in (Job, StageRun, Note)
            )
        return jobs, runs, notes, [name for name in _files(folder) if name not in before]

    return count


def _files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
