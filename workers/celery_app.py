"""The Celery side of a worker: how it starts, that it takes nothing before it is warm, and how it stops."""

import logging
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import celery.worker.consumer
from celery import Celery, signals

from voxqueue.queue import celery_config
from voxqueue.settings import Settings
from workers.pulse import Pulse

log = logging.getLogger(__name__)

_EVENTS_S = 0.05


class Consumer(celery.worker.consumer.Consumer):
    """Tells Flower of tasks up to 50 ms later, many at once.

    Celery sends each event as it comes, which showed in the profile of a worker with many short tasks.
    """

    hub: Any
    _flush_is_due = False

    def on_send_event_buffered(self) -> None:  # type: ignore[override]
        if self.hub and not self._flush_is_due:
            self._flush_is_due = True
            self.hub.call_later(_EVENTS_S, self._flush_gathered)

    def _flush_gathered(self) -> None:
        self._flush_is_due = False  # before the flush: what comes in meanwhile is due again
        self._flush_events()  # type: ignore[attr-defined]


def create_app(settings: Settings) -> Celery:
    """A Celery application with our configuration and no tasks yet."""
    # Celery warns root about messages that run code when they are unpickled; we accept nothing but JSON.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser")
    app = Celery("voxqueue")
    app.conf.update(celery_config(settings), worker_consumer=f"{Consumer.__module__}:{Consumer.__name__}")
    return app


def serve(
    app: Celery,
    *,
    name: str,
    queues: Sequence[str],
    threads: int,
    warm: Callable[[Callable[[str], None]], None],
    stop: Callable[[], None],
    pulse: Pulse | None = None,
) -> int:
    """Run a worker until it is told to stop; returns its exit code.

    It begins with no queue, visible in Flower but idle. `warm` runs in a thread and gets a function that opens a queue;
    `stop` is called as soon as the worker is asked to shut down, while tasks are still running. `pulse` is told of the
    consumer's loop.
    """

    def hold_queues(instance: object, **_: object) -> None:
        app.amqp.queues.deselect(list(app.amqp.queues.consume_from))

    def begin(sender: object, **_: object) -> None:
        def open_queue(queue: str) -> None:
            log.info("taking jobs from %s", queue)
            sender.call_soon(sender.add_task_queue, queue)  # type: ignore[attr-defined]

        if pulse is not None:
            pulse.follow(sender.call_soon)  # type: ignore[attr-defined]
        threading.Thread(target=warm, args=(open_queue,), name="warmup", daemon=True).start()

    def shut_down(**_: object) -> None:
        # The signal is sent from a signal handler: whatever takes a lock must happen on another thread.
        threading.Thread(target=stop, name="stop", daemon=True).start()

    signals.celeryd_after_setup.connect(hold_queues, weak=False)
    signals.worker_ready.connect(begin, weak=False)
    signals.worker_shutting_down.connect(shut_down, weak=False)
    worker = app.Worker(
        hostname=name,
        pool="threads",
        concurrency=threads,
        queues=",".join(queues),
        without_gossip=True,
        without_mingle=True,
        task_events=True,
        loglevel="INFO",
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)
