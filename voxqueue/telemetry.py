"""How this process logs: one line per event, JSON for machines, readable on a terminal.

Never audio, never what people said or wrote, never a key. Code logs with the standard library; what a line is about
(job, attempt, stage) is bound around the work by `about`, and stands in every line logged inside. So does the trace
that the work belongs to. A worker says in every line which one it is.
"""

import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, cast

import structlog

from voxqueue import tracing
from voxqueue.settings import Settings

_CHATTY = ("celery.worker.strategy", "celery.app.trace", "httpx", "httpx2", "alembic.runtime.migration")
_LOGGED = "__voxqueue_logged__"
_SERVERS = ("uvicorn", "uvicorn.error", "uvicorn.access")  # they bring levels and handlers of their own


class _Requests(logging.Filter):
    """Makes fields of the server's line about a request, and leaves out its query, which may hold secrets."""

    fields = ("client", "method", "path", "status")

    def filter(self, record: logging.LogRecord) -> bool:
        client, method, target, _, status = cast(tuple[Any, ...], record.args)
        path = str(target).partition("?")[0]
        vars(record).update(zip(self.fields, (client, method, path, status), strict=True))
        record.msg, record.args = "%s %s %s", (method, path, status)
        return True


class _Once(logging.Filter):
    """Leaves out the server's line about an error that has been logged already, with what it was about."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not getattr(error, _LOGGED, False)


_REQUESTS, _ONCE = _Requests(), _Once()  # one of each, so that a logger has it once


def set_up_logging(settings: Settings, worker: str | None = None) -> None:
    """Log to standard error, as the settings say.

    Args:
        settings: Which lines, and in which form.
        worker: Which worker this process is, for every line.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _whose(worker),
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
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(allow=_Requests.fields)],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for server in map(logging.getLogger, _SERVERS):
        server.setLevel(logging.NOTSET)  # ours counts
        if server.handlers:  # without any, uvicorn was told to say nothing of requests
            server.handlers.clear()
            server.propagate = True
    logging.getLogger("uvicorn.access").addFilter(_REQUESTS)
    logging.getLogger("uvicorn.error").addFilter(_ONCE)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def mark_as_logged(error: Exception) -> None:
    """Keep the server from logging this error a second time, where it knows neither the request nor the trace."""
    setattr(error, _LOGGED, True)


def about(**what: object) -> AbstractContextManager[None]:
    """Inside the block, every line that this thread logs says what it is about, such as ``job=...``."""
    return structlog.contextvars.bound_contextvars(**{name: str(value) for name, value in what.items()})


def _whose(worker: str | None) -> Callable[[Any, str, dict[str, Any]], dict[str, Any]]:
    """What adds to each line which worker it is of, and the trace that it belongs to."""

    def add(_logger: Any, _method: str, line: dict[str, Any]) -> dict[str, Any]:
        if worker is not None:
            line["worker"] = worker
        if (trace_id := tracing.trace_id()) is not None:
            line["trace_id"] = trace_id
        return line

    return add
