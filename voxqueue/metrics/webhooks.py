"""What couriers measure of webhooks. Neither receivers nor tenants are named."""

from prometheus_client import Counter, Histogram

from voxqueue.webhooks.events import DeliveryState
from voxqueue.webhooks.schedule import Attempt, Verdict

_OUTCOMES = {DeliveryState.SUCCEEDED: "succeeded", DeliveryState.PENDING: "again", DeliveryState.FAILED: "failed"}

_ATTEMPTS = Counter(
    "voxqueue_webhook_attempts", "Attempts by what comes of the delivery, and by the answer", ("outcome", "status")
)
_DURATION = Histogram(
    "voxqueue_webhook_attempt_duration_seconds",
    "One attempt, from the connection to the answer",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30),
)
_DISABLED = Counter("voxqueue_webhook_endpoints_disabled", "Endpoints disabled since they did nothing but fail")

for _outcome, _status in (("succeeded", "2xx"), ("again", "none"), ("failed", "none")):  # from zero on
    _ATTEMPTS.labels(_outcome, _status)


def attempted(attempt: Attempt, decided: Verdict) -> None:
    """An attempt was made and written down."""
    status = "none" if attempt.status is None else f"{attempt.status // 100}xx"
    _ATTEMPTS.labels(_OUTCOMES[decided.state], status).inc()
    _DURATION.observe(attempt.duration_ms / 1000)


def endpoint_disabled() -> None:
    _DISABLED.inc()
