"""The only producer of Celery messages. A message is a hint: a job's id and nothing more, sent after the commit.

Losing one costs latency only, since the sweep sends it again. So sending never raises and never blocks for long.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

# Celery imports it in the thread that sends first, and from two ends: two threads at once would wait for each other.
import celery.events  # noqa: F401
from celery import Celery
from kombu import Queue as Channel
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from voxqueue import redis_transport
from voxqueue.jobs.kinds import Priority
from voxqueue.jobs.repository import Hint
from voxqueue.settings import Settings
from voxqueue.stages import Stage

log = logging.getLogger(__name__)

UPKEEP_QUEUE = "upkeep"
UPKEEP_TASK = "voxqueue.upkeep"
DELIVERY_TASK = "voxqueue.deliver"
_PRIORITIES = {Priority.HIGH: 0, Priority.NORMAL: 3, Priority.LOW: 6}  # on Redis, 0 goes first
_AWAY = (KombuError, RedisError, OSError, RuntimeError)  # what kombu lets through when it cannot reach Redis
_PAUSE_S = 2.0  # after a failed send, others need not wait for the same time-out


def task_name(stage: Stage) -> str:
    return f"voxqueue.{stage}"


def celery_config(settings: Settings) -> dict[str, Any]:
    """What producers and workers agree on."""
    redis_transport.install()
    return {
        "broker_url": settings.redis.require_url(),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "visibility_timeout": 3600,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 30,
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
        },
        "task_queues": [Channel(name) for name in (*Stage, UPKEEP_QUEUE)],
        "task_default_queue": UPKEEP_QUEUE,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_ignore_result": True,
        "task_publish_retry": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_prefetch_multiplier": 1,
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
    }


class JobQueue:
    """Sends hints. One per process, shared by its threads."""

    def __init__(self, settings: Settings) -> None:
        self._app = Celery("voxqueue", set_as_current=False)
        self._app.conf.update(celery_config(settings))
        # A worker waits for Redis to come back, and so does kombu by itself, for six seconds. Whoever submits does not.
        self._app.conf.broker_transport_options |= {"max_retries": 0}
        self._silent_until = 0.0

    def hint(self, hints: Sequence[Hint]) -> bool:
        """Tell the workers of each job's stage to look at it. False: Redis is away, and the sweep will do it."""
        return self._send([(task_name(hint.stage), hint) for hint in hints])

    def ask_for_upkeep(self) -> bool:
        """Have the courier sweep now instead of at its next turn."""
        return self._send([(UPKEEP_TASK, None)])

    def ask_for_delivery(self) -> bool:
        """Have a courier deliver now what is owed, instead of at its next turn. Call it after the commit.

        Where a message to the courier still waits, that one will do: they do not pile up while there is no courier.
        """
        return self._send([(DELIVERY_TASK, None)], unless_one_waits=True)

    def empty(self, stage: Stage) -> set[Priority] | None:
        """The priorities of which no hint waits in Redis for a stage; None when Redis is away."""
        try:
            pool: Any = self._app.pool
            with pool.acquire(block=True, timeout=2) as connection:
                channel = connection.default_channel
                # kombu keeps a list for each priority.
                lists = {one: channel._q_for_pri(stage.value, number) for one, number in _PRIORITIES.items()}
                with channel.conn_or_acquire() as client:
                    return {one for one, name in lists.items() if not client.llen(name)}
        except _AWAY:
            return None

    def close(self) -> None:
        self._app.close()

    def _send(self, messages: Sequence[tuple[str, Hint | None]], *, unless_one_waits: bool = False) -> bool:
        if not messages:
            return True
        if time.monotonic() < self._silent_until:
            return False
        try:
            with self._app.producer_pool.acquire(block=True, timeout=2) as producer:
                if time.monotonic() < self._silent_until:  # while we waited for our turn, others have found out
                    return False
                if unless_one_waits and self._upkeep_waits(producer):
                    return True
                for name, hint in messages:
                    self._publish(producer, name, hint)
        except _AWAY as error:
            self._silent_until = time.monotonic() + _PAUSE_S
            log.warning("%d hints not sent, the sweep will send them: %s", len(messages), error)
            return False
        return True

    def _upkeep_waits(self, producer: Any) -> bool:
        channel = producer.connection.default_channel
        with channel.conn_or_acquire() as client:
            return bool(client.llen(UPKEEP_QUEUE))

    def _publish(self, producer: Any, name: str, hint: Hint | None) -> None:
        if hint is None:
            self._app.send_task(name, queue=UPKEEP_QUEUE, producer=producer, retry=False)
            return
        self._app.send_task(
            name,
            args=(str(hint.job_id),),
            # Readable in Flower, and the same for a hint that is sent twice.
            task_id=f"{hint.job_id}.{hint.stage}.{hint.attempt + 1}",
            queue=hint.stage.value,
            priority=_PRIORITIES[hint.priority],
            producer=producer,
            retry=False,
            ignore_result=True,
        )
