"""Records spans and sends them to a collector by OTLP over HTTP, as the standard OTEL_ variables say.

The only room that imports OpenTelemetry's SDK. Sending happens in a thread of its own: what cannot be sent is dropped,
and our log says so once a minute, in place of what the libraries would log of each try.
"""

import logging
from collections.abc import Sequence
from http.client import responses

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from voxqueue import __version__
from voxqueue.errors import MisconfiguredError
from voxqueue.seldom import Seldom
from voxqueue.urls import without_login

log = logging.getLogger(__name__)

_OF_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_OF_QUEUE = "opentelemetry.sdk._shared_internal"


def start(service: str, instance: str | None, endpoint: str) -> None:
    """Record and send from now on. See `tracing.set_up_tracing`; the endpoint is named in the log."""
    ours = {"service.name": service, "service.version": __version__}
    if instance is not None:
        ours["service.instance.id"] = instance
    try:
        # What the environment says of this process goes before what we say.
        resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # it waits too long; `end_tracing` does it
        provider.add_span_processor(_WithoutQueries())
        provider.add_span_processor(BatchSpanProcessor(_Exporter(endpoint)))
    except (ValueError, OSError) as error:
        raise MisconfiguredError(
            f"Traces cannot be sent, one of the OTEL_ variables makes no sense: {error}"
        ) from error
    trace.set_tracer_provider(provider)
    logging.getLogger(_OF_QUEUE).addFilter(_Dropped())


class _WithoutQueries(SpanProcessor):
    """Takes the query out of a request's span: it may hold what is nobody's business."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.attributes and "url.query" in span.attributes:
            span.set_attribute("url.query", "REDACTED")


class _Exporter(OTLPSpanExporter):
    """Says when spans can be sent again, after `_Away` has said that they cannot."""

    def __init__(self, named: str) -> None:
        super().__init__()
        self._named = without_login(named.partition("?")[0])
        self._away = _Away(self._named)
        logging.getLogger(_OF_EXPORTER).addFilter(self._away)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        if result is SpanExportResult.SUCCESS and self._away.said:
            self._away.said = False
            log.info("traces are sent to %s again", self._named)
        return result


class _Away(logging.Filter):
    """Takes the exporter's lines, all of which tell that a batch was not sent, out of the log, and says it for them."""

    def __init__(self, named: str) -> None:
        super().__init__()
        self.said = False
        self._named = named
        self._seldom = Seldom()

    def filter(self, record: logging.LogRecord) -> bool:
        if self._seldom.due():
            self.said = True
            words = "traces cannot be sent to %s and are dropped while that lasts: %s"
            log.warning(words, self._named, _reason(record))
        return False


def _reason(record: logging.LogRecord) -> str:
    """Why a batch was not sent. The exporter knows an answer's status, its phrase, or what was raised."""
    match record.args:
        case (Exception() as error, *_) | (_, None, Exception() as error):
            return f"no answer ({type(error).__name__})"
        case (str(phrase), _, float()):  # of an attempt that it will make again
            return f"the answer is {phrase}"
        case (_, int(status), _):
            return f"the answer is {status} {responses.get(status, '')}".rstrip()
    return record.getMessage()


class _Dropped(logging.Filter):
    """Says in our words that the queue of spans is full. What else is logged there is a fault, and stands as it is."""

    def __init__(self) -> None:
        super().__init__()
        self._full, self._fault = Seldom(), Seldom()

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.msg.startswith("Queue full"):
            return self._fault.due()
        if self._full.due():
            log.warning("traces are dropped: more spans wait to be sent than OTEL_BSP_MAX_QUEUE_SIZE allows")
        return False
