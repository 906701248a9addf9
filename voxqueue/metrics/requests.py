"""What the API measures of requests. Routes are named by their templates, never by what stands in an address."""

from prometheus_client import Counter, Gauge, Histogram

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_REQUESTS = Counter("voxqueue_http_requests", "Requests answered", ("method", "route", "status"))
_DURATION = Histogram(
    "voxqueue_http_request_duration_seconds",
    "From the head of a request to the head of its answer",
    ("method", "route"),
    buckets=_QUICK,
)
_ACCEPT = Histogram(
    "voxqueue_accept_duration_seconds",
    "What it took to accept a job, without waiting for the caller to send the body",
    ("route",),
    buckets=_QUICK,
)
_REFUSED = Counter("voxqueue_submissions_refused", "Jobs that were not accepted", ("route", "status", "reason"))
_STREAMS = Gauge("voxqueue_event_streams", "Event streams that are open", ("route",))


def answered(method: str, route: str, status: int, seconds: float) -> None:
    """A request has got the head of its answer after so many seconds."""
    method = method if method in _METHODS else "other"  # callers may make methods up
    _REQUESTS.labels(method, route, status).inc()
    _DURATION.labels(method, route).observe(seconds)


def accepted(route: str, seconds: float) -> None:
    """A job was accepted, which took us so many seconds."""
    _ACCEPT.labels(route).observe(seconds)


def refused(route: str, status: int, reason: str) -> None:
    """A job was not accepted. `reason` is the code of the problem, such as ``audio-too-long``."""
    _REFUSED.labels(route, status, reason).inc()


def stream_opened(route: str) -> None:
    _STREAMS.labels(route).inc()


def stream_closed(route: str) -> None:
    _STREAMS.labels(route).dec()
