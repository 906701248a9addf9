"""What the API looks up for Prometheus: queues, fleet, webhooks, and whether that on which it depends answers.

What does not answer in time is left out, and shows as a dependency that is down: a look must not hang with it.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from api.questions import Question
from api.services import Services
from voxqueue.fleet import FleetReport, Requirement, assess
from voxqueue.jobs.repository import StageQueue
from voxqueue.stages import Stage
from voxqueue.webhooks.backlog import Backlog, backlog

_WAIT_S = 3.0  # Prometheus itself waits ten seconds for everything, unless told otherwise


class ApiCollector:
    """Metrics that no process counts. Every API shows the same ones."""

    def __init__(self, services: Services, background: ThreadPoolExecutor) -> None:
        requirement = Requirement.of(services.settings.ready)

        def count_backlog() -> Backlog:
            with services.transaction() as session:
                return backlog(session)

        def store_answers() -> bool:
            services.store.check()
            return True

        self._queues = Question(services.queues.get, background, _WAIT_S)
        self._backlog = Question(count_backlog, background, _WAIT_S)
        self._fleet = Question(lambda: assess(services.fleet.workers(), requirement), background, _WAIT_S)
        self._store = Question(store_answers, background, _WAIT_S)

    def collect(self) -> Iterator[Metric]:
        asked = self._queues.ask(), self._backlog.ask(), self._fleet.ask(), self._store.ask()  # all at once
        queues, owed, report, store = asked[0](), asked[1](), asked[2](), asked[3]()
        up = {"database": queues is not None, "redis": report is not None, "storage": store is not None}
        yield _gauge("voxqueue_dependency_up", "Whether it answers", "dependency", up)
        ready = report is not None and report.ready
        yield _gauge("voxqueue_fleet_ready", "Whether GET /api/ready says so", None, ready)
        if queues is not None:
            yield from _queue_metrics(queues)
        if report is not None:
            yield from _fleet_metrics(report)
        if owed is not None:
            yield from _webhook_metrics(owed)


@contextmanager
def collecting(services: Services) -> Iterator[ApiCollector]:
    """A collector, and inside the block the threads in which it asks."""
    background = ThreadPoolExecutor(4, thread_name_prefix="metrics")
    try:
        yield ApiCollector(services, background)
    finally:
        background.shutdown(wait=False, cancel_futures=True)


def _queue_metrics(queues: Mapping[Stage, StageQueue]) -> Iterator[Metric]:
    depth = {stage.value: queue.depth for stage, queue in queues.items()}
    running = {stage.value: queue.running for stage, queue in queues.items()}
    oldest = {stage.value: queue.oldest_age_s or 0.0 for stage, queue in queues.items()}
    yield _gauge("voxqueue_queue_depth", "Jobs that wait for a stage", "stage", depth)
    yield _gauge("voxqueue_queue_running", "Jobs that workers hold at a stage", "stage", running)
    yield _gauge("voxqueue_queue_oldest_age_seconds", "How long the oldest job has been waiting", "stage", oldest)


def _fleet_metrics(report: FleetReport) -> Iterator[Metric]:
    counts = report.workers
    warm = {stage.value: count.warm for stage, count in counts.by_stage.items()}
    required = {stage.value: count.required for stage, count in counts.by_stage.items()}
    states = {"warm": counts.warm, "warming": counts.warming, "failed": counts.failed}
    yield _gauge("voxqueue_fleet_degraded", "Whether engines are not those one would want", None, report.degraded)
    yield _gauge("voxqueue_workers", "Workers by what they say of themselves", "state", states)
    yield _gauge("voxqueue_workers_warm", "Workers that have a stage warm", "stage", warm)
    yield _gauge("voxqueue_workers_required", "Warm workers that a stage must have", "stage", required)


def _webhook_metrics(owed: Backlog) -> Iterator[Metric]:
    endpoints = {"enabled": owed.endpoints_enabled, "disabled": owed.endpoints_disabled}
    yield _gauge("voxqueue_webhook_deliveries_pending", "Deliveries that have not ended", None, owed.pending)
    yield _gauge("voxqueue_webhook_deliveries_due", "Deliveries that no courier has come to yet", None, owed.due)
    yield _gauge("voxqueue_webhook_oldest_due_seconds", "How long the oldest of these is due", None, owed.oldest_due_s)
    yield _gauge("voxqueue_webhook_endpoints", "Endpoints that are registered", "state", endpoints)


def _gauge(name: str, words: str, label: str | None, values: Mapping[str, float] | float) -> Metric:
    family = GaugeMetricFamily(name, words, labels=() if label is None else (label,))
    for key, value in values.items() if isinstance(values, Mapping) else [(None, values)]:
        family.add_metric(() if key is None else (key,), float(value))
    return family
