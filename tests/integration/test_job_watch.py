"""How often those who wait for a job look at the database: seldom while Redis is heard, each second while it is not.

And how much is kept for those who follow many jobs and do not read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest

from api import following
from api.following import JobFeed
from api.waiting import JobWatch
from tests.fault.proxy import Proxy
from voxqueue.embedded.processes import free_port
from voxqueue.jobs.changes import Announcer
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.repository import JobLine
from voxqueue.jobs.states import JobState
from voxqueue.settings import RedisSettings
from voxqueue.stages import Stage

pytestmark = pytest.mark.integration

WAITED_S = 3.5


def run(what: Coroutine[Any, Any, None]) -> None:
    """In a thread of its own: in that of a test, Playwright may have left an event loop of its own running."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, what).result()


async def _stays() -> bool:
    return False


async def _until(happened: Callable[[], bool]) -> None:
    while not happened():
        await asyncio.sleep(0.01)


def looks(settings: RedisSettings, during: Callable[[JobWatch], Awaitable[None]]) -> int:
    """How often somebody looked who waited for `WAITED_S` for a job that does not end, in a watch that listens."""
    count = 0

    def is_over() -> bool:
        nonlocal count
        count += 1
        return False

    async def waited() -> None:
        watch = JobWatch(settings)
        async with watch.listening():
            await during(watch)
            await watch.wait(uuid4(), seconds=WAITED_S, is_over=is_over, has_left=_stays)

    run(waited())
    return count


def test_who_hears_redis_does_not_ask_the_database_over_and_over(redis_url: str) -> None:
    """A thousand who wait would else ask it a thousand times a second."""

    async def heard(watch: JobWatch) -> None:
        await asyncio.wait_for(_until(lambda: watch.hears), 5)

    assert looks(RedisSettings(url=redis_url), heard) == 1


def test_who_does_not_hear_redis_asks_each_second() -> None:
    async def at_once(watch: JobWatch) -> None:
        assert not watch.hears

    assert looks(RedisSettings(url=f"redis://127.0.0.1:{free_port()}/0"), at_once) >= 3


def test_what_happened_before_redis_was_heard_again_is_looked_for(redis_url: str) -> None:
    """Whoever began to wait deaf would else learn of it only much later."""

    async def deaf(watch: JobWatch) -> None:
        assert not watch.hears  # the connection is made while the waiting goes on

    assert looks(RedisSettings(url=redis_url), deaf) in (2, 3)  # 3 if Redis was not heard within a second


def test_nobody_hears_before_redis_has_said_so(redis_url: str) -> None:
    """Whoever looked at the database before that, and relied on hearing of what comes after it, would miss an end."""
    at = urlsplit(redis_url)
    proxy = Proxy((str(at.hostname), at.port or 6379))

    async def asked() -> None:
        watch = JobWatch(RedisSettings(url=redis_url.replace(f":{at.port}/", f":{proxy.port}/")))
        async with watch.listening():
            with proxy.hold(b"SUBSCRIBE") as hold:
                await asyncio.wait_for(_until(hold.stands.is_set), 20)
                assert not watch.hears
            await asyncio.wait_for(_until(lambda: watch.hears), 20)

    try:
        run(asked())
    finally:
        proxy.close()


def test_a_reader_who_does_not_read_is_kept_the_newest_jobs_only(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection on which nobody reads may stay open for days, and what is kept for it must not grow meanwhile."""
    monkeypatch.setattr(following, "MOST_NEWS", 3)
    settings = RedisSettings(url=redis_url)
    job_ids = [uuid4() for _ in range(10)]
    shown = []

    def load(ids: Collection[UUID]) -> list[JobLine]:
        changed = [job_id for job_id in job_ids if job_id in ids]
        return [JobLine(job_id, "t", Kind.REPLY, JobState.RUNNING, Stage.LLM, 0) for job_id in changed]

    def show(line: JobLine) -> bytes:
        shown.append(line.id)
        return line.id.bytes

    async def followed() -> None:
        watch, announcer = JobWatch(settings), Announcer(settings)
        feed = JobFeed(watch, load, show)
        stream = feed.follow("t")
        async with watch.listening(), feed.running():
            await asyncio.wait_for(_until(lambda: watch.hears), 5)
            first = asyncio.create_task(anext(stream))
            await asyncio.sleep(0)  # from here on it follows
            announcer.announce(job_ids[0], JobState.RUNNING)
            assert await asyncio.wait_for(first, 10) == job_ids[0].bytes
            for job_id in job_ids[1:]:
                announcer.announce(job_id, JobState.RUNNING)
            await asyncio.wait_for(_until(lambda: shown == job_ids), 10)
            assert await asyncio.wait_for(anext(stream), 10) == b"".join(job_id.bytes for job_id in job_ids[-3:])
        announcer.close()

    run(followed())
