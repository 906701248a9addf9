"""Follows jobs and the fleet live, for event streams that stay open. Here and in `waiting` things are `async`.

However many follow, there is one listener to Redis per process; a job's followers each look at that job when it is said
to have changed, those of whole tenants share one query, those of the fleet one report.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from anyio import CapacityLimiter, to_thread

from api.fleet_report import FleetReports, Told
from api.waiting import LOOK_AGAIN_DEAF_S, LOOK_AGAIN_S, JobWatch
from voxqueue.errors import Unavailable
from voxqueue.jobs.repository import JobLine

MOST_NEWS = 10_000
"""How many jobs a reader of a whole tenant may lag behind: whoever does not read at all must not fill our memory."""

_GAP_S = 0.5  # between two events of one stream
_QUEUES_GAP_S = 2.0  # between two reports of the fleet that differ in their queues alone

T = TypeVar("T")
_looking = CapacityLimiter(8)  # threads of their own: a thousand streams must not keep requests waiting


async def follow(
    watch: JobWatch, job_id: UUID, look: Callable[[], T | None], is_over: Callable[[T], bool]
) -> AsyncGenerator[T]:
    """Yield what `look` sees of a job, now and whenever that has changed, until it is over or gone.

    Changes on the way are told of at most twice a second, the end at once.

    Args:
        watch: Says that the job has changed.
        job_id: Which job.
        look: Looks at the database; called in a thread. None: the job is gone.
        is_over: Whether nothing can follow.
    """
    seen: T | None = None
    with watch.following(job_id) as changed, watch.awaiting_end(job_id) as ended:
        while not watch.stopping:
            changed.clear()
            told_at = time.monotonic()
            with suppress(Unavailable):  # the database will be back, and the stream is still open then
                now = await to_thread.run_sync(look, limiter=_looking)
                if now is None:
                    return
                if now != seen:
                    seen = now
                    yield now
                if is_over(now):
                    return
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), LOOK_AGAIN_S if watch.hears else LOOK_AGAIN_DEAF_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), max(0.0, told_at + _GAP_S - time.monotonic()))


@dataclass(slots=True, eq=False)
class _Reader:
    """Somebody who follows a tenant, and what is to be told of each job that they have not taken yet."""

    news: dict[UUID, bytes] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, job_id: UUID, shown: bytes) -> None:
        self.news[job_id] = shown
        if len(self.news) > MOST_NEWS:
            del self.news[next(iter(self.news))]
        self.changed.set()


class JobFeed:
    """Tells those who follow a whole tenant what changes there. Lives on the event loop.

    Args:
        watch: Says which jobs have changed.
        load: The lines of these jobs, of whatever tenant; called in a thread.
        show: What is told of a line: made once, however many it is told to.
    """

    def __init__(
        self,
        watch: JobWatch,
        load: Callable[[Collection[UUID]], Sequence[JobLine]],
        show: Callable[[JobLine], bytes],
    ) -> None:
        self._watch = watch
        self._load = load
        self._show = show
        self._readers: defaultdict[str, set[_Reader]] = defaultdict(set)  # by tenant
        self._changed: set[UUID] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Feed inside the block."""
        with self._watch.observing(self._note):
            feeding = asyncio.create_task(self._feed(), name="job-feed")
            try:
                yield
            finally:
                feeding.cancel()
                with suppress(asyncio.CancelledError):
                    await feeding

    async def follow(self, tenant: str) -> AsyncGenerator[bytes]:
        """Yield the news of the tenant's jobs as they change.

        A slow reader gets the latest of each job only, and of the last `MOST_NEWS` jobs.
        """
        reader = _Reader()
        self._readers[tenant].add(reader)
        try:
            while not self._watch.stopping:
                news, reader.news = reader.news, {}
                if news:
                    yield b"".join(news.values())
                with suppress(TimeoutError):  # whether the process is to stop shows within a second
                    await asyncio.wait_for(reader.changed.wait(), 1)
                reader.changed.clear()
        finally:
            self._readers[tenant].discard(reader)
            if not self._readers[tenant]:
                del self._readers[tenant]

    def _note(self, job_id: UUID) -> None:
        if self._readers:
            self._changed.add(job_id)

    async def _feed(self) -> None:
        while True:
            await asyncio.sleep(_GAP_S)
            ids, self._changed = self._changed, set()
            if not ids:
                continue
            with suppress(Unavailable):
                for line in await to_thread.run_sync(self._load, ids, limiter=_looking):
                    if readers := self._readers.get(line.tenant):
                        shown = self._show(line)
                        for reader in readers:
                            reader.tell(line.id, shown)


class FleetFeed:
    """Tells those who follow the fleet how it is. Lives on the event loop; nobody there, nothing is asked.

    Args:
        watch: Says when the process is to stop.
        reports: Has the reports.
    """

    def __init__(self, watch: JobWatch, reports: FleetReports) -> None:
        self._watch = watch
        self._reports = reports

    async def follow(self, *, briefly: bool) -> AsyncIterator[str]:
        """Yield the report as JSON, now and whenever it is another one.

        Where there is nothing new but in the queues, every `_QUEUES_GAP_S` will do.
        """
        seen: Told | None = None
        said, told_at = "", float("-inf")
        while not self._watch.stopping:
            told = await self._reports.latest()
            text = told.brief if briefly else told.whole
            is_late = time.monotonic() - told_at > _QUEUES_GAP_S
            if text != said and (seen is None or is_late or told.standing != seen.standing):
                seen, said, told_at = told, text, time.monotonic()
                yield text
            await asyncio.sleep(_GAP_S)
