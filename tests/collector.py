"""A collector of traces on a real port: takes what OTLP sends over HTTP, and keeps it readable for tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.wire import Asked, Said, serving

_WAIT_S = 20.0


@dataclass(frozen=True)
class Sent:
    """One span. Ids are in hexadecimal, times in nanoseconds; `parent` is empty for the root of a trace."""

    service: str
    instance: str | None
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    attributes: dict[str, Any]
    error: str | None
    events: int


@dataclass
class Collector:
    """What has come so far. `env` has processes send here."""

    env: dict[str, str] = field(default_factory=dict)
    spans: list[Sent] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, asked: Asked) -> Said:
        if asked.path != "/v1/traces":
            return Said(404)
        with self._changed:
            self.spans += read(asked.body)
            self._changed.notify_all()
        return Said(200)

    def wait(self, number: int) -> list[Sent]:
        """The spans, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.spans) >= number, _WAIT_S), f"only {self.spans}"
            return list(self.spans)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector until the block ends. Those who send do so seldom: what comes early, they sent when they ended."""
    collector = Collector()
    with serving(collector.take) as wire:
        collector.env = {"OTEL_EXPORTER_OTLP_ENDPOINT": wire.url, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
        yield collector


def read(body: bytes) -> Iterator[Sent]:
    """The spans of one request."""
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _attributes(group.resource)
        for span in (span for scope in group.scope_spans for span in scope.spans):
            yield Sent(
                service=resource["service.name"],
                instance=resource.get("service.instance.id"),
                name=span.name,
                kind=span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                trace=span.trace_id.hex(),
                id=span.span_id.hex(),
                parent=span.parent_span_id.hex(),
                start=span.start_time_unix_nano,
                end=span.end_time_unix_nano,
                attributes=_attributes(span),
                error=span.status.message if span.status.code == span.status.STATUS_CODE_ERROR else None,
                events=len(span.events),
            )


def _attributes(holder: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in holder.attributes}


def _value(value: Any) -> Any:
    which = value.WhichOneof("value")
    if which == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, which)
