"""Says on a Redis channel that a job has changed, so that whoever waits for it looks now instead of soon.

An announcement is a job's id. It may be lost; those who wait look by themselves now and then.
"""

import logging
import queue
import threading
from uuid import UUID

import redis

from voxqueue.settings import RedisSettings

log = logging.getLogger(__name__)


def channel(settings: RedisSettings) -> str:
    """The name of the channel."""
    return f"{settings.prefix}:changes"


class Announcer:
    """Announces from a thread of its own: a slow or lost Redis must not hold up those who do the work."""

    def __init__(self, settings: RedisSettings) -> None:
        self._redis = redis.Redis.from_url(settings.require_url(), socket_timeout=2, socket_connect_timeout=2)
        self._channel = channel(settings)
        self._waiting: queue.Queue[UUID | None] = queue.Queue(maxsize=10_000)
        self._thread = threading.Thread(target=self._announce, name="announcer", daemon=True)
        self._thread.start()

    def announce(self, job_id: UUID) -> None:
        """Say that the job has changed. Never blocks and never raises."""
        try:
            self._waiting.put_nowait(job_id)
        except queue.Full:
            log.debug("announcements pile up; dropped one")

    def close(self) -> None:
        """Send what is left and stop."""
        self._waiting.put(None)
        self._thread.join(timeout=3)
        self._redis.close()

    def _announce(self) -> None:
        while True:
            ids = [self._waiting.get()]
            while not self._waiting.empty() and len(ids) < 100:
                ids.append(self._waiting.get())
            try:
                with self._redis.pipeline(transaction=False) as pipeline:
                    for job_id in ids:
                        if job_id is not None:
                            pipeline.publish(self._channel, str(job_id))
                    pipeline.execute()
            except redis.RedisError as error:
                log.debug("%d announcements lost: %s", len(ids), error)
            if None in ids:
                return
