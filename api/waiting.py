"""Waits for jobs without holding a thread or a database session; this and `following` are where things are `async`.

Redis says which job has changed; whoever waits for that job then looks at the database. What Redis does not say is
found by looking now and then anyway, and often while nobody hears Redis.
"""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from types import FrameType
from uuid import UUID

import redis.asyncio
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from voxqueue.jobs.changes import Change, channel, parse
from voxqueue.seldom import Seldom
from voxqueue.settings import RedisSettings

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 15.0
LOOK_AGAIN_DEAF_S = 1.0
_PAUSE_S = 1.0  # before Redis is tried again
_SILENCE_S = 15.0  # after which the connection is checked
_DEAF = float("inf")


class JobWatch:
    """Knows who waits for which job, and wakes them. One per process; lives on the event loop."""

    def __init__(self, settings: RedisSettings) -> None:
        self._url = settings.require_url()
        self._channel = channel(settings)
        self._waiters: dict[UUID, set[asyncio.Event]] = {}  # for the job's end
        self._followers: dict[UUID, set[asyncio.Event]] = {}  # for any change
        self._observers: set[Callable[[UUID], None]] = set()
        self.stopping = False
        self._warning = Seldom()
        self._heard_since = _DEAF  # from then on Redis has told us of every change

    @property
    def hears(self) -> bool:
        """Whether Redis tells us of changes now."""
        return self._heard_since < _DEAF

    async def wait(
        self,
        job_id: UUID,
        *,
        seconds: float,
        is_over: Callable[[], bool],
        has_left: Callable[[], Awaitable[bool]],
    ) -> None:
        """Return when `is_over` answers yes, the time is over, the client has left, or this process is to stop.

        Args:
            is_over: Looks at the database; it is called in a worker thread.
            has_left: Whether anybody still wants to know.
        """
        deadline = time.monotonic() + seconds
        with self.awaiting_end(job_id) as finished:  # before looking: what happens from here on wakes us
            looked_at = float("-inf")
            while not (finished.is_set() or self.stopping or await has_left()):
                now = time.monotonic()
                if looked_at < max(self._heard_since, now - LOOK_AGAIN_S):
                    if await run_in_threadpool(is_over):
                        return
                    looked_at = now
                if (remaining := deadline - time.monotonic()) <= 0:
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(finished.wait(), min(remaining, LOOK_AGAIN_DEAF_S))

    def awaiting_end(self, job_id: UUID) -> AbstractContextManager[asyncio.Event]:
        """An event that is set when the job has ended, and when this process is to stop."""
        return _listed(self._waiters, job_id)

    def following(self, job_id: UUID) -> AbstractContextManager[asyncio.Event]:
        """An event that is set whenever the job has changed, and when this process is to stop. Clear it, then look."""
        return _listed(self._followers, job_id)

    @contextmanager
    def observing(self, told: Callable[[UUID], None]) -> Iterator[None]:
        """Inside the block, call with the id of every job that has changed, on the event loop."""
        self._observers.add(told)
        try:
            yield
        finally:
            self._observers.discard(told)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear announcements inside the block; at its end nobody waits any more."""
        listener = asyncio.create_task(self._listen(), name="job-watch")
        try:
            yield
        finally:
            self.stop()
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener

    def stop(self) -> None:
        """Let everybody who waits answer now, and nobody wait from now on."""
        self.stopping = True
        for events in (*self._waiters.values(), *self._followers.values()):
            for event in events:
                event.set()

    def _tell(self, change: Change) -> None:
        for followed in self._followers.get(change.job_id, ()):
            followed.set()
        if change.state.is_terminal:
            for finished in self._waiters.get(change.job_id, ()):
                finished.set()
        for told in self._observers:
            told(change.job_id)

    def _hear_since(self, instant: float) -> None:
        """Have followers look: so far they relied on hearing, or have missed what happened while nobody heard."""
        self._heard_since = instant
        for events in self._followers.values():
            for changed in events:
                changed.set()

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except (RedisError, OSError, ValueError) as error:  # the last: somebody else spoke on our channel
                if self._warning.due():
                    log.warning("Redis tells us of no changes, looking once a second instead: %s", error)
            finally:
                self._hear_since(_DEAF)
            await asyncio.sleep(_PAUSE_S)

    async def _hear(self) -> None:
        """Wake those whose job is announced, until Redis goes away."""
        client = redis.asyncio.Redis.from_url(
            self._url,
            decode_responses=True,
            socket_connect_timeout=2,
            socket_keepalive=True,
            health_check_interval=_SILENCE_S,
        )
        async with client, client.pubsub() as announcements:
            await announcements.subscribe(self._channel)
            while True:
                match await announcements.get_message(timeout=_SILENCE_S):
                    case {"type": "subscribe"}:  # Redis says so: what was announced until now, we may have missed
                        self._hear_since(time.monotonic())
                    case {"type": "message", "data": str(announcement)}:
                        for change in parse(announcement):
                            self._tell(change)


@contextmanager
def _listed(events: dict[UUID, set[asyncio.Event]], job_id: UUID) -> Iterator[asyncio.Event]:
    """A fresh event that stands among those of a job."""
    event = asyncio.Event()
    those = events.setdefault(job_id, set())
    those.add(event)
    try:
        yield event
    finally:
        those.remove(event)
        if not those:
            del events[job_id]


@contextmanager
def called_when_stopping(call: Callable[[], None]) -> Iterator[None]:
    """Call on the event loop when the process is asked to stop, before the server's own handler runs.

    A server ends the lifespan only after the last open request: whoever waits there must hear of it sooner. Outside the
    main thread there are no signals, and nothing is called.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(call)
        before = previous[signal.Signals(number)]
        if callable(before):
            before(number, frame)

    handled = [number for number, before in previous.items() if callable(before)]  # else nobody would stop the process
    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in handled:
            if signal.getsignal(number) is handle:
                signal.signal(number, previous[number])
