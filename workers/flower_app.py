"""Flower on our Celery application: so it knows our queues, and shows the job where Celery shows a tuple.

It is a role of the workers' package since only that speaks Celery. It knows no job but by its messages.
"""

import logging
from collections.abc import Sequence
from typing import Any

from celery import Celery
from flower.options import options
from flower.views import BaseHandler

from voxqueue.queue import celery_config
from voxqueue.seldom import Seldom
from voxqueue.settings import Settings

_COLUMNS = "name,args,state,result,runtime,worker,received"


def run_flower(settings: Settings, address: str, port: int) -> int:
    """Serve Flower until told to stop. Returns the exit code."""
    app = Celery("voxqueue")
    app.conf.update(celery_config(settings))
    queues = sorted(queue.name for queue in app.conf.task_queues)
    # Flower asks workers for theirs when it starts, and then ours have opened none: they open one when it is warm.
    BaseHandler.get_active_queue_names = lambda _: queues
    options.format_task = _readable
    logging.getLogger("flower.inspector").addFilter(_NobodyAnswers())
    app.start(["flower", *_arguments(settings, address, port)])
    return 0


class _NobodyAnswers(logging.Filter):
    """Says once a minute that no worker answers, where Flower would warn of each of its four questions by its name."""

    def __init__(self) -> None:
        super().__init__()
        self._seldom = Seldom()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg != "Inspect method %s failed":
            return True
        if not self._seldom.due():
            return False
        record.msg, record.args = "No worker answers yet: one that warms up is shown once it takes jobs", ()
        return True


def _arguments(settings: Settings, address: str, port: int) -> Sequence[str]:
    chosen = {
        "address": address,
        "port": str(port),
        "persistent": "false",  # what has happened is in Postgres
        "tasks_columns": _COLUMNS,
        **({"url_prefix": prefix} if (prefix := settings.flower.url_prefix.strip("/")) else {}),
    }
    return [f"--{name}={value}" for name, value in chosen.items()]


def _readable(task: Any) -> Any:
    """A task, which is a copy of Flower's, as its list shows it: the job's id, and what became of the job."""
    task.args = (task.args or "").strip("(),'")  # of one argument; Celery sends what Python would print
    task.result = task.exception or (task.result or "").strip("'")
    return task
