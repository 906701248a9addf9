"""How a process takes part in traces: where a trace comes from, what is added to it, and how it is handed on.

Only OpenTelemetry's API stands here, which records nothing; what records and sends is `trace_export`, and is imported
only where the environment names a collector. Never what people said or wrote: of an error, its title is recorded.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from voxqueue import __version__
from voxqueue.errors import MisconfiguredError
from voxqueue.extras import install

Attributes = Mapping[str, AttributeValue]

_END_S = 2.0
_PROTOCOL = "http/protobuf"
_tracer = trace.get_tracer("voxqueue", __version__)
_w3c = TraceContextTextMapPropagator()


def collector(env: Mapping[str, str]) -> str | None:
    """The address that an environment wants traces to be sent to, or its base. None: there is to be no tracing.

    Raises:
        MisconfiguredError: They are to be sent in a way that we do not know, or what sends them is not installed.
    """
    endpoint = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    exporter = env.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not endpoint or exporter == "none" or env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if exporter not in ("", "otlp"):
        raise MisconfiguredError(f"OTEL_TRACES_EXPORTER must be otlp or none, not {exporter}.")
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if env.get(variable, _PROTOCOL) != _PROTOCOL:
            raise MisconfiguredError(
                f"{variable} must be {_PROTOCOL}, the only way that traces are sent. Collectors listen for it on port "
                "4318 by default."
            )
    if not endpoint.startswith(("http://", "https://")):
        raise MisconfiguredError("The OTLP endpoint must begin with http:// or https://.")
    if not _can_send():
        raise MisconfiguredError(f"Traces are to be sent, and what sends them is not installed: {install('traces')}.")
    return endpoint


def _can_send() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # not even the packages around it are there
        return False


def set_up_tracing(service: str, instance: str | None = None) -> None:
    """Record and send this process's spans, if its environment names a collector.

    Args:
        service: What the process is called in traces, unless the environment says otherwise.
        instance: Which of its kind it is.

    Raises:
        MisconfiguredError: The environment asks for what we cannot do.
    """
    endpoint = collector(os.environ)
    if endpoint is None:
        return
    from voxqueue import trace_export  # noqa: PLC0415 - whoever does not trace shall not load it

    trace_export.start(service, instance, endpoint)


def end_tracing() -> None:
    """Send what has been recorded so far, and record no more. A collector that does not answer costs two seconds."""
    shut_down = getattr(trace.get_tracer_provider(), "shutdown", None)  # the API's own provider has none
    if shut_down is not None:
        thread = threading.Thread(target=shut_down, name="end-tracing", daemon=True)
        thread.start()
        thread.join(_END_S)


def carried() -> dict[str, str]:
    """The headers that hand the current span on, as W3C's trace context has them; none without a trace."""
    headers: dict[str, str] = {}
    _w3c.inject(headers)
    return headers


def traceparent() -> str | None:
    """The current span, as it is kept with a job."""
    return carried().get("traceparent")


def trace_id() -> str | None:
    """The trace that this thread or request works for."""
    current = trace.get_current_span().get_span_context()
    return trace.format_trace_id(current.trace_id) if current.is_valid else None


def joined(
    parent: str | None, name: str, attributes: Attributes, *, kind: SpanKind, began_ns: int | None = None
) -> AbstractContextManager[Span]:
    """A span in the trace that a job was submitted in. Without a parent nothing is recorded, in here neither.

    Args:
        parent: What `traceparent` was then.
        name: One of a few: what tells one span from another belongs into the attributes.
        attributes: What it is about.
        kind: Which side of what it is.
        began_ns: When it began, by `time.time_ns`, if that was before now.
    """
    within = _w3c.extract({"traceparent": parent or ""}, Context())
    return _recorded(within, name, attributes, kind, began_ns)


def inside(name: str, attributes: Attributes) -> AbstractContextManager[Span]:
    """A span inside of the current one. Without a trace nothing is recorded."""
    return _recorded(None, name, attributes, SpanKind.INTERNAL, None)


def add_past(name: str, attributes: Attributes, *, began: float, seconds: float) -> None:
    """Add what is over to the current span: it `began` by `time.monotonic`. Without a trace nothing is recorded."""
    if trace.get_current_span().is_recording():
        began_ns = time.time_ns() - round((time.monotonic() - began) * 1e9)
        span = _tracer.start_span(name, attributes=attributes, start_time=began_ns)
        span.end(began_ns + round(seconds * 1e9))


def fail(span: Span, title: str) -> None:
    """Mark a span as failed. The title says what kind of error it was, never what somebody said."""
    span.set_status(Status(StatusCode.ERROR, title))


@contextmanager
def _recorded(
    within: Context | None, name: str, attributes: Attributes, kind: SpanKind, began_ns: int | None
) -> Iterator[Span]:
    if not trace.get_current_span(within).get_span_context().is_valid:
        yield INVALID_SPAN
        return
    span = _tracer.start_span(name, within, kind, attributes, start_time=began_ns)
    # The words of an exception may quote what somebody said, so they stay out of it.
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except Exception as error:
            fail(span, getattr(error, "title", type(error).__name__))
            raise
