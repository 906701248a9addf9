"""Keeps a worker alive when Redis goes away.

In kombu 5.7.0, ``Channel.close`` aborts in ``_brpop_read`` when the connection breaks while a BRPOP is in flight, and
the second close then fails in ``restore_unacked``: the worker exits. Reading the pending answer first, and forgiving
it, cures that. ``tests/fault/test_redis_patch.py`` shows whether it is still needed.
"""

import contextlib
from typing import Any

from kombu.transport.redis import Channel

_close = Channel.close


def _close_after_pending_read(self: Any) -> Any:
    if self._in_poll:
        with contextlib.suppress(Exception):  # whatever the broken connection raises is what we are here to forgive
            self._brpop_read()
        self._in_poll = None
    return _close(self)


def apply() -> None:
    """Patch kombu's Redis channel, once per process."""
    Channel.close = _close_after_pending_read  # type: ignore[method-assign]
