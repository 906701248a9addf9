"""Records spans and sends them to a collector by OTLP over HTTP, as the standard OTEL_ variables say.

The only room that imports OpenTelemetry's SDK. Sending happens in a thread of its own: what cannot be sent is dropped.
"""

import logging
import time

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from voxqueue import __version__
from voxqueue.errors import MisconfiguredError

_PAUSE_S = 60.0
_TALKATIVE = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")


def start(service: str, instance: str | None) -> None:
    """Record and send from now on. See `tracing.set_up_tracing`."""
    ours = {"service.name": service, "service.version": __version__}
    if instance is not None:
        ours["service.instance.id"] = instance
    try:
        # What the environment says of this process goes before what we say.
        resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # it waits too long; `end_tracing` does it
        provider.add_span_processor(_WithoutQueries())
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except (ValueError, OSError) as error:
        raise MisconfiguredError(
            f"Traces cannot be sent, one of the OTEL_ variables makes no sense: {error}"
        ) from error
    trace.set_tracer_provider(provider)
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_Seldom())


class _WithoutQueries(SpanProcessor):
    """Takes the query out of a request's span: it may hold what is nobody's business."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.attributes and "url.query" in span.attributes:
            span.set_attribute("url.query", "REDACTED")


class _Seldom(logging.Filter):
    """Lets each message by once a minute: a collector may be away for long."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._said.get(record.msg, -_PAUSE_S) < _PAUSE_S:
            return False
        self._said[record.msg] = now
        return True
