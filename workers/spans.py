"""What a job's trace shows of workers and couriers: a span for each task, stage, model call and delivery.

Says how things went and how long they took, never what was said. Knows nothing of how traces are recorded and sent.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry.trace import Span, SpanKind

from voxqueue import tracing
from voxqueue.errors import NotBegun, VoxqueueError
from voxqueue.jobs.lifecycle import ClaimedJob
from voxqueue.stages import Stage
from voxqueue.webhooks.repository import Owed
from voxqueue.webhooks.schedule import Attempt
from workers.engines.base import AnyEngine
from workers.settling import Ran


@contextmanager
def task_span(job: ClaimedJob, worker: str, began_ns: int) -> Iterator[Span]:
    """What a worker does of a job under one claim, from the moment on that it heard of it (by `time.time_ns`)."""
    attributes: tracing.Attributes = {
        "voxqueue.job.id": str(job.id),
        "voxqueue.job.kind": job.kind.value,
        "voxqueue.job.attempt": job.attempt,
        "voxqueue.worker": worker,
    }
    name = f"run {job.kind}"
    with tracing.joined(job.traceparent, name, attributes, kind=SpanKind.CONSUMER, began_ns=began_ns) as span:
        yield span


@contextmanager
def stage_span(stage: Stage, engine: AnyEngine) -> Iterator[Callable[[Ran | VoxqueueError], None]]:
    """One stage, without its commit. Yields what is to be told how it went, and learns of the model call by that."""
    attributes = {"voxqueue.stage": stage.value, "voxqueue.engine": engine.name, "voxqueue.model": engine.model}
    with tracing.inside(f"stage {stage}", attributes) as span:
        yield lambda outcome: _tell_stage(span, engine, outcome)


def _tell_stage(span: Span, engine: AnyEngine, outcome: Ran | VoxqueueError) -> None:
    if isinstance(outcome, VoxqueueError):
        span.set_attribute("voxqueue.outcome", outcome.code)
        if not isinstance(outcome, NotBegun):
            tracing.fail(span, outcome.title)
        return
    answered = outcome.answered
    span.set_attributes(
        {
            "voxqueue.outcome": "succeeded",
            "voxqueue.batch_size": answered.batch_size,
            "voxqueue.wait_ms": round(outcome.waited_s * 1000, 3),
        }
    )
    if answered.batch_size:  # else there was nothing for a model to do
        attributes: tracing.Attributes = {
            "voxqueue.batch_size": answered.batch_size,
            "voxqueue.batches": answered.batches,
        }
        tracing.add_past(f"call {engine.name}", attributes, began=answered.started_at, seconds=answered.run_ms / 1000)


@contextmanager
def delivery_span(owed: Owed) -> Iterator[Callable[[Attempt], None]]:
    """One attempt of a delivery, in the trace of the job that it tells of. Yields what is to be told how it went."""
    attributes: tracing.Attributes = {
        "http.request.method": "POST",
        "server.address": owed.host,  # no more of the address: it may hold secrets
        "voxqueue.event.id": str(owed.event_id),
        "voxqueue.event.type": owed.type,
        "voxqueue.delivery.id": str(owed.id),
        "voxqueue.delivery.attempt": owed.attempts + 1,
    }
    with tracing.joined(owed.traceparent, "POST webhook", attributes, kind=SpanKind.CLIENT) as span:
        yield lambda attempt: _tell_delivery(span, attempt)


def _tell_delivery(span: Span, attempt: Attempt) -> None:
    if attempt.status is not None:
        span.set_attribute("http.response.status_code", attempt.status)
    if not attempt.succeeded:
        tracing.fail(span, attempt.error or f"It answered {attempt.status}.")
