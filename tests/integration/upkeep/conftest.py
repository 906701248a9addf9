"""A house for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.upkeep.house import House
from voxqueue.database.session import Sessions
from voxqueue.queue import JobQueue
from voxqueue.settings import RedisSettings, Settings
from voxqueue.storage import DiskStore


@pytest.fixture
def house(sessions: Sessions, database_url: str, redis_url: str, blobs: Path) -> Iterator[House]:
    queue = JobQueue(Settings(redis=RedisSettings(url=redis_url)))
    yield House(sessions, sessions.kw["bind"], DiskStore(blobs), queue)
    queue.close()
