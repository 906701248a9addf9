"""The API on a real port, with a database of the module's own, the process's Redis, and blobs in a folder."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import func, select

from api.app import create_app
from api.bounded_http import BoundedHttp
from tests.gated_worker import Hire, hiring
from voxqueue.database.session import Sessions
from voxqueue.embedded.processes import free_port
from voxqueue.jobs.models import Job, Note, StageRun
from voxqueue.serving import SERVER
from voxqueue.settings import (
    ApiSettings,
    DatabaseSettings,
    JobsSettings,
    LimitsSettings,
    RedisSettings,
    Settings,
    StorageSettings,
)

LIMITS = LimitsSettings(
    requests="1000000/minute", upload_bytes=2_000_000, text_chars=1_000, instructions_chars=200, wait_seconds=5
)

Left = tuple[int, int, int, list[str]]


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Run the API in a thread; yields its address."""
    with serving_app(create_app(settings)) as url:
        yield url


@contextmanager
def serving_app(app: FastAPI) -> Iterator[str]:
    """Run this very app in a thread, for tests that look into it; yields its address."""
    config = uvicorn.Config(
        app,
        port=0,
        http=BoundedHttp,
        ws="none",
        log_config=None,
        access_log=False,
        timeout_keep_alive=1,
    )
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


@contextmanager
def api_process(settings: Settings) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the API as a process of its own, which hears signals; yields its address and the process."""
    env = {
        **os.environ,
        "VOXQUEUE_DATABASE_URL": str(settings.database.url),
        "VOXQUEUE_REDIS_URL": str(settings.redis.url),
        "VOXQUEUE_STORAGE_DIR": str(settings.storage.dir),
        "VOXQUEUE_API_KEYS": settings.api.keys,
    }
    port = free_port()
    command = [sys.executable, "-m", *SERVER, "--port", str(port)]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _await(url, process)
            yield url, process
        finally:
            process.kill()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            httpx.get(f"{url}/livez").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the API did not start")


@pytest.fixture(scope="module")
def api_settings(database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Small limits, so that tests need little to go beyond them, but for the requests of all tests together."""
    return Settings(
        database=DatabaseSettings(url=database_url),
        redis=RedisSettings(url=redis_url),
        storage=StorageSettings(dir=tmp_path_factory.mktemp("blobs")),
        limits=LIMITS,
        api=ApiSettings(keys="open"),
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


@pytest.fixture
def hire(sessions: Sessions, database_url: str, redis_url: str, blobs: Path) -> Iterator[Hire]:
    """Makes a worker whose engines wait at gates, for these stages."""
    settings = Settings(
        database=DatabaseSettings(url=database_url),
        redis=RedisSettings(url=redis_url),
        storage=StorageSettings(dir=blobs),
        jobs=JobsSettings(lease_s=60),
    )
    with hiring(sessions, settings) as hire:
        yield hire
