"""kombu's Redis transport with two repairs and a fairer order. Producers and workers both use it unnamed.

In kombu 5.7.0, ``Channel.close`` aborts in ``_brpop_read`` when the connection breaks while a BRPOP is in flight, and
the second close then fails in ``restore_unacked``: the worker exits. And every command makes a Redis client anew, which
a profile of a busy worker showed to be a large share of Celery's own time.

kombu keeps a list for each priority and takes from the first that is not empty, so that low ones could wait for ever.
Here each BRPOP names the lists in an order drawn by weight.
"""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis

WEIGHTS = {0: 12, 3: 4, 6: 1}
"""How often each priority comes first while all of them wait; kombu's numbers, of which 0 is the most urgent."""


class Steps(list[int]):
    """Priorities as kombu wants them, ascending; but whoever goes through them does so in an order drawn by weight."""

    def __iter__(self) -> Iterator[int]:
        # An exponential waiting time for each, the shorter the heavier: the first to come is drawn by weight, and so is
        # each one after it among those that are left.
        return iter(sorted(super().__iter__(), key=lambda step: random.expovariate(WEIGHTS[step])))


class Channel(redis.Channel):  # its stubs know little of it, hence the Any below
    """Survives a Redis that goes away, keeps its client, and takes messages by weight."""

    priority_steps = Steps(WEIGHTS)
    _in_poll: Any  # set while a BRPOP is in flight
    _kept: Any = None

    def close(self) -> None:
        if self._in_poll:
            with contextlib.suppress(Exception):  # whatever the broken connection raises is what we are here to forgive
                self._brpop_read()  # type: ignore[attr-defined]
            self._in_poll = None
        super().close()

    @contextlib.contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        if client is None:
            if self._kept is None or self._kept.connection_pool is not self.pool:  # the pool is new after an outage
                self._kept = self._create_client()  # type: ignore[attr-defined]
            client = self._kept
        yield client


class Transport(redis.Transport):
    Channel = Channel


def install() -> None:
    """Use it for every ``redis://`` and ``rediss://`` address of this process."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{Transport.__module__}:{Transport.__name__}"
