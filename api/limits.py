"""How many requests a caller may send: counted in Redis, for all processes together, over a sliding window.

Without Redis nothing is counted and everything is let through: losing it must not stop the API.
"""

import logging
import math
import time
from dataclasses import dataclass

from limits import parse
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import RedisError
from redis.retry import Retry

from voxqueue.settings import RedisSettings

log = logging.getLogger(__name__)

_PAUSE_S = 5.0  # after a failure, others need not wait for the same time-out


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left to a caller: whether this request is within the limit, how many more are, and the whole seconds
    until there are more again."""

    within: bool
    remaining: int
    more_in_s: int


class RateLimit:
    """One policy for all callers, each counted apart. Safe to share between threads.

    Args:
        policy: Such as ``6000/minute``.
        settings: Where Redis is; it need not answer.
    """

    def __init__(self, policy: str, settings: RedisSettings) -> None:
        self._policy = parse(policy)
        url = settings.require_url()
        # One more try for a connection that Redis has closed meanwhile, at once: a request waits for this.
        options = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "retry": Retry(NoBackoff(), 1)}
        self._connections = ConnectionPool.from_url(url, **options)
        storage = RedisStorage(url, self._connections, key_prefix=f"{settings.prefix}:limits")
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._silent_until = 0.0
        self._is_away = False

    def take(self, who: str) -> Standing | None:
        """Count one request of a caller, if it is within the limit. None while Redis is away."""
        if time.monotonic() < self._silent_until:
            return None
        try:
            within = self._limiter.hit(self._policy, who)
            window = self._limiter.get_window_stats(self._policy, who)
        except RedisError as error:
            self._silent_until = time.monotonic() + _PAUSE_S
            if not self._is_away:
                log.warning("requests are not counted until Redis is back: %s", error)
            self._is_away = True
            return None
        if self._is_away:
            log.info("requests are counted again")
        self._is_away = False
        return Standing(within, window.remaining, max(1, math.ceil(window.reset_time - time.time())))

    def headers(self, standing: Standing | None) -> dict[str, str]:
        """What is told of it, in the fields of draft-ietf-httpapi-ratelimit-headers."""
        policy = {"RateLimit-Policy": f'"requests";q={self._policy.amount};w={self._policy.get_expiry()}'}
        if standing is None:
            return policy
        return {**policy, "RateLimit": f'"requests";r={standing.remaining};t={standing.more_in_s}'}

    def close(self) -> None:
        self._connections.disconnect()
