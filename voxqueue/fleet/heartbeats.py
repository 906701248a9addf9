"""The workers' reports in Redis, under keys that expire by themselves: a worker that falls silent is not warm.

Nobody asks the workers, so the answer costs two round trips to Redis however many there are.
"""

from typing import cast

import redis

from voxqueue.fleet.reports import VoicesReport, WorkerReport
from voxqueue.settings import RedisSettings, WorkerSettings

_FURTHEST_S = 900  # what nobody has asked about for so long is no start any more


class Fleet:
    """The workers' reports in Redis."""

    def __init__(self, redis_settings: RedisSettings, worker_settings: WorkerSettings) -> None:
        self._redis = redis.Redis.from_url(
            redis_settings.require_url(), socket_timeout=2, socket_connect_timeout=2, decode_responses=True
        )
        self._names = f"{redis_settings.prefix}:workers"
        self._prefix = f"{redis_settings.prefix}:worker:"
        self._voices_prefix = f"{redis_settings.prefix}:voices:"
        self._warmups = f"{redis_settings.prefix}:warmups"
        self._furthest = f"{redis_settings.prefix}:progress"
        self._voices_left: VoicesReport | None = None
        self._ttl_ms = int(worker_settings.heartbeat_ttl_s * 1000)

    def beat(self, report: WorkerReport, voices: VoicesReport | None = None) -> int:
        """Leave a report that counts until its time is over, and with it the voices.

        Returns:
            How often somebody has asked the fleet to try its engines again.

        Raises:
            redis.RedisError: It was not left.
        """
        voices_key = self._voices_prefix + report.worker
        with self._redis.pipeline() as pipeline:
            pipeline.sadd(self._names, report.worker)
            pipeline.set(self._prefix + report.worker, report.model_dump_json(), px=self._ttl_ms)
            pipeline.pexpire(voices_key, self._ttl_ms)
            pipeline.get(self._warmups)
            *_, are_there, warmups = pipeline.execute()
        # A list may be long: it is sent again only when it is another one, or when Redis has lost it.
        if voices is not None and not (are_there and voices == self._voices_left):
            self._redis.set(voices_key, voices.model_dump_json(), px=self._ttl_ms)
            self._voices_left = voices
        return int(warmups or 0)

    def ask_for_warmup(self) -> None:
        """Have the workers whose engines failed try them again now. Raises `redis.RedisError`."""
        self._redis.incr(self._warmups)

    def leave(self, worker: str) -> None:
        """Take the report back. Raises `redis.RedisError`."""
        with self._redis.pipeline() as pipeline:
            pipeline.srem(self._names, worker)
            pipeline.delete(self._prefix + worker, self._voices_prefix + worker)
            pipeline.execute()

    def workers(self) -> list[WorkerReport]:
        """Those who have reported lately, by name. Raises `redis.RedisError`."""
        left = self._left_under(self._prefix)
        if gone := [name for name, report in left.items() if report is None]:
            self._redis.srem(self._names, *gone)
        return [WorkerReport.model_validate_json(report) for report in left.values() if report is not None]

    def get_on(self, goal: str, progress: int) -> int:
        """Of a fleet that is not ready yet, the furthest that anybody has seen it on its way to this goal.

        So it never seems to go back, whichever process is asked, and when a worker begins anew. Raises
        `redis.RedisError`.
        """
        with self._redis.pipeline() as pipeline:
            pipeline.zadd(self._furthest, {goal: progress}, gt=True)
            pipeline.expire(self._furthest, _FURTHEST_S)
            pipeline.zscore(self._furthest, goal)
            *_, furthest = pipeline.execute()
        return int(furthest)

    def arrive(self, goal: str) -> None:
        """Forget how far the fleet was: it is ready, and may begin anew later. Raises `redis.RedisError`."""
        self._redis.zrem(self._furthest, goal)

    def voices(self) -> list[VoicesReport]:
        """Of every worker that has text to speech warm, the voices. Raises `redis.RedisError`."""
        left = self._left_under(self._voices_prefix)
        return [VoicesReport.model_validate_json(report) for report in left.values() if report is not None]

    def check(self) -> None:
        """Return if Redis answers, else raise `redis.RedisError`."""
        self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    def _left_under(self, prefix: str) -> dict[str, str | None]:
        """What each worker has left there, by name; None where its time is over, or it has left nothing."""
        names = sorted(cast("set[str]", self._redis.smembers(self._names)))
        found = cast("list[str | None]", self._redis.mget([prefix + name for name in names])) if names else []
        return dict(zip(names, found, strict=True))
