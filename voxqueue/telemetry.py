"""How this process logs: one line per event, JSON for machines, readable on a terminal.

Never audio, never what people said or wrote, never a key. Code logs with the standard library; what a line is about
(job, attempt, stage, worker) is bound around the work by `about`, and stands in every line logged inside.
"""

import logging
import sys
from contextlib import AbstractContextManager
from typing import Any

import structlog

from voxqueue.settings import Settings

_CHATTY = ("celery.worker.strategy", "celery.app.trace", "httpx", "httpx2", "alembic.runtime.migration")
_SERVERS = ("uvicorn", "uvicorn.access")  # they bring handlers of their own


def set_up_logging(settings: Settings) -> None:
    """Log to standard error, as the settings say."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    pretty = settings.log_format == "pretty" or (settings.log_format == "auto" and sys.stderr.isatty())
    # Tracebacks without the values of variables, which may be what somebody said.
    rendering: list[Any] = [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
    ]
    if not pretty:
        frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        rendering = [structlog.processors.ExceptionRenderer(frames), structlog.processors.JSONRenderer()]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(allow=())],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for server in map(logging.getLogger, _SERVERS):
        if server.handlers:  # without any, uvicorn was told to say nothing of requests
            server.handlers.clear()
            server.propagate = True
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def about(**what: object) -> AbstractContextManager[None]:
    """Inside the block, every line that this thread logs says what it is about, such as ``job=...``."""
    return structlog.contextvars.bound_contextvars(**{name: str(value) for name, value in what.items()})
