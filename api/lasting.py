"""Keeps an event stream open: with a sign of life where there is nothing to tell, and while the caller's key counts.

The gate has looked at the key once, and streams stay open for long. Knows neither what is told nor how a key is looked
up.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

from anyio import CapacityLimiter, to_thread
from fastapi.sse import KEEPALIVE_COMMENT
from starlette.responses import StreamingResponse

from voxqueue.errors import DatabaseUnavailable

LOOK_S = 5.0
_SILENCE_S = 15.0  # proxies take what is silent for longer for dead
_looking = CapacityLimiter(4)  # threads of their own: a thousand streams must not keep requests waiting


class EventStream(StreamingResponse):
    """Whole events, as they go over the wire. The framework's own sends them one by one, with two tasks for each."""

    media_type = "text/event-stream"


def event_stream(told: AsyncGenerator[bytes], counts: Callable[[], bool] | None = None) -> EventStream:
    """Answer with what is told, see `lasting`."""
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # the latter: nginx shall pass on each event
    return EventStream(lasting(told, counts), headers=headers)


async def lasting(told: AsyncGenerator[bytes], counts: Callable[[], bool] | None) -> AsyncGenerator[bytes]:
    """Yield what is told until that ends, or until a look, every `LOOK_S` seconds, finds that the key counts no more.

    Args:
        told: What is yielded; never None.
        counts: Whether the key counts; None: there is none. Called in a thread; while the database is away, the stream
            stays open.
    """
    look_at = time.monotonic() + LOOK_S if counts is not None else float("inf")
    speak_at = time.monotonic() + _SILENCE_S
    coming = asyncio.create_task(_next(told))
    try:
        while True:
            await asyncio.wait({coming}, timeout=max(0.0, min(look_at, speak_at) - time.monotonic()))
            if counts is not None and time.monotonic() >= look_at:
                if not await to_thread.run_sync(_still_counts, counts, limiter=_looking):
                    return
                look_at = time.monotonic() + LOOK_S
            if coming.done():
                if (one := coming.result()) is None:
                    return
                coming = asyncio.create_task(_next(told))
            elif time.monotonic() >= speak_at:
                one = KEEPALIVE_COMMENT
            else:
                continue
            yield one
            speak_at = time.monotonic() + _SILENCE_S
    finally:
        if coming.done():
            await told.aclose()
        else:
            coming.cancel()  # which ends it as well, once the loop gets there


async def _next(told: AsyncGenerator[bytes]) -> bytes | None:
    return await anext(told, None)


def _still_counts(counts: Callable[[], bool]) -> bool:
    try:
        return counts()
    except DatabaseUnavailable:
        return True
