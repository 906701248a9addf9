"""Says on a Redis channel that a job has changed, so that whoever waits for it looks now instead of soon.

An announcement is a line for each job with its id and its new state. It may be lost; those who wait look by
themselves now and then.
"""

import logging
import queue
import threading
import time
from dataclasses import dataclass
from typing import Self
from uuid import UUID

import redis

from voxqueue.jobs.states import JobState
from voxqueue.settings import RedisSettings

log = logging.getLogger(__name__)

_PAUSE_S = 0.005  # between messages: under load, what comes in meanwhile shares the next one


@dataclass(frozen=True, slots=True)
class Change:
    """That a job has changed, and the state that it is in since."""

    job_id: UUID
    state: JobState

    def __str__(self) -> str:
        return f"{self.job_id} {self.state}"

    @classmethod
    def parse(cls, line: str) -> Self:
        job_id, _, state = line.partition(" ")
        return cls(UUID(job_id), JobState(state))


def parse(announcement: str) -> list[Change]:
    """The changes that one message tells of."""
    return [Change.parse(line) for line in announcement.splitlines()]


def channel(settings: RedisSettings) -> str:
    """The name of the channel."""
    return f"{settings.prefix}:changes"


class Announcer:
    """Announces from a thread of its own: a slow or lost Redis must not hold up those who do the work."""

    def __init__(self, settings: RedisSettings) -> None:
        self._redis = redis.Redis.from_url(settings.require_url(), socket_timeout=2, socket_connect_timeout=2)
        self._channel = channel(settings)
        self._waiting: queue.Queue[Change | None] = queue.Queue(maxsize=10_000)
        self._thread = threading.Thread(target=self._announce, name="announcer", daemon=True)
        self._thread.start()

    def announce(self, job_id: UUID, state: JobState) -> None:
        """Say that the job is in this state now. Never blocks and never raises."""
        try:
            self._waiting.put_nowait(Change(job_id, state))
        except queue.Full:
            log.debug("announcements pile up; dropped one")

    def close(self) -> None:
        """Send what is left and stop."""
        self._waiting.put(None)
        self._thread.join(timeout=3)
        self._redis.close()

    def _announce(self) -> None:
        while True:
            changes = [self._waiting.get()]
            while not self._waiting.empty() and len(changes) < 100:
                changes.append(self._waiting.get())
            try:
                self._redis.publish(self._channel, "\n".join(str(change) for change in changes if change is not None))
            except redis.RedisError as error:
                log.debug("%d announcements lost: %s", len(changes), error)
            if None in changes:
                return
            time.sleep(_PAUSE_S)
