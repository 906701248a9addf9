"""Flower, as `voxqueue flower` runs it, before a Redis with our messages and no worker."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from voxqueue.embedded import embedded_redis
from voxqueue.embedded.processes import free_port
from voxqueue.jobs.kinds import Priority
from voxqueue.jobs.repository import Hint
from voxqueue.queue import JobQueue
from voxqueue.settings import RedisSettings, Settings
from voxqueue.stages import Stage

pytestmark = pytest.mark.integration


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[str]:
    """A Redis in which nobody else's hints lie."""
    with embedded_redis(tmp_path, durable=False) as url:
        yield url


@contextmanager
def flower(redis_url: str, **env: str) -> Iterator[str]:
    """Run it; yields its address once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "voxqueue", "flower", "--port", str(port)]
    with subprocess.Popen(command, env={**os.environ, "VOXQUEUE_REDIS_URL": redis_url, **env}) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            give_up = time.monotonic() + 60
            while not answers(url):
                assert process.poll() is None, "Flower has ended"
                assert time.monotonic() < give_up, "Flower does not answer"
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def answers(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.TransportError:
        return False
    return True


def test_flower_counts_what_waits_in_each_queue_at_every_priority(own_redis: str) -> None:
    """kombu keeps a list for each priority, and without a worker Flower would show none of our queues."""
    queue = JobQueue(Settings(redis=RedisSettings(url=own_redis)))
    try:
        assert queue.hint([Hint(uuid4(), Stage.STT, 0, priority) for priority in Priority])
        assert queue.hint([Hint(uuid4(), Stage.TTS, 0, Priority.LOW)])
        with flower(own_redis, VOXQUEUE_FLOWER_BASIC_AUTH="operator:geheim") as url:
            assert httpx.get(f"{url}/broker").status_code == 401
            with httpx.Client(base_url=url, auth=("operator", "geheim")) as operator:
                told = operator.get("/api/queues/length").json()["active_queues"]
                page = operator.get("/broker").text
    finally:
        queue.close()
    assert {it["name"]: it["messages"] for it in told} == {"stt": len(Priority), "llm": 0, "tts": 1, "upkeep": 0}
    assert all(f'<tr id="{name}">' in page for name in ("stt", "llm", "tts", "upkeep"))


def test_flower_stands_under_the_path_that_a_proxy_gives_it(redis_url: str) -> None:
    with flower(redis_url, VOXQUEUE_FLOWER_URL_PREFIX="/flower/") as url:
        page = httpx.get(f"{url}/flower/tasks")
        assert page.status_code == 200
        assert 'href="/flower/broker"' in page.text
        assert httpx.get(f"{url}/flower/static/css/flower.css").status_code == 200
        assert httpx.get(f"{url}/tasks").status_code == 404
