"""Ends a stream whose caller's key counts no more: the gate has looked at it once, and streams stay open for long.

Knows neither what is told nor how a key is looked up.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from voxqueue.errors import DatabaseUnavailable

LOOK_S = 5.0

T = TypeVar("T")
_looking = CapacityLimiter(4)  # threads of their own: a thousand streams must not keep requests waiting


async def while_allowed(told: AsyncGenerator[T], counts: Callable[[], bool]) -> AsyncGenerator[T]:
    """Yield what is told until that ends, or until a look, every `LOOK_S` seconds, finds that the key counts no more.

    Args:
        told: What is yielded; never None.
        counts: Whether the key counts. Called in a thread; while the database is away, the stream stays open.
    """
    due = time.monotonic() + LOOK_S
    coming = asyncio.create_task(_next(told))
    try:
        while True:
            await asyncio.wait({coming}, timeout=max(0.0, due - time.monotonic()))
            if time.monotonic() >= due:
                if not await to_thread.run_sync(_still_counts, counts, limiter=_looking):
                    return
                due = time.monotonic() + LOOK_S
            if coming.done():
                if (one := coming.result()) is None:
                    return
                yield one
                coming = asyncio.create_task(_next(told))
    finally:
        if coming.done():
            await told.aclose()
        else:
            coming.cancel()  # which ends it as well, once the loop gets there


async def _next(told: AsyncGenerator[T]) -> T | None:
    return await anext(told, None)


def _still_counts(counts: Callable[[], bool]) -> bool:
    try:
        return counts()
    except DatabaseUnavailable:
        return True
