"""What is asked of servers that may hang: whoever wants to know waits for a while, and then does without."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Generic, TypeVar

from redis.exceptions import RedisError

from voxqueue.errors import VoxqueueError

T = TypeVar("T")


class Question(Generic[T]):
    """Something to ask that may hang: it is asked by one thread at a time, however many want to know.

    Args:
        ask: What may hang.
        background: Where that happens.
        wait_s: How long anybody waits for the answer.
    """

    def __init__(self, ask: Callable[[], T], background: ThreadPoolExecutor, wait_s: float) -> None:
        self._ask = ask
        self._background = background
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._asked: Future[T] | None = None

    def ask(self) -> Callable[[], T | None]:
        """Ask; what is returned waits for the answer, which is None if there is none within `wait_s` from now on."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = self._background.submit(self._ask)
            asked = self._asked
        until = time.monotonic() + self._wait_s

        def answer() -> T | None:
            try:
                return asked.result(max(0.0, until - time.monotonic()))
            except (FutureTimeout, VoxqueueError, RedisError):
                return None

        return answer
