"""What the API answers about webhooks, as frozen values."""

from datetime import datetime
from typing import Any

from voxqueue.client.answers import Answer


class Endpoint(Answer):
    """A registered address. Its `secret` is there only where it was just made."""

    id: str
    url: str
    events: tuple[str, ...] = ()
    description: str | None = None
    enabled: bool = True
    disabled_reason: str | None = None
    failing_since: datetime | None = None
    created_at: datetime | None = None
    secret: str | None = None


class EndpointList(Answer):
    """All endpoints, the newest first."""

    endpoints: tuple[Endpoint, ...]


class Secret(Answer):
    """What signs deliveries. The `secret` itself is there only where it was just made."""

    id: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    secret: str | None = None


class SecretList(Answer):
    """What signs now, the newest first."""

    secrets: tuple[Secret, ...]


class Event(Answer):
    """What has happened. `id` is what ``webhook-id`` says; `sequence` grows with each event."""

    id: str
    type: str
    sequence: int
    job_id: str | None = None
    created_at: datetime | None = None


class Attempt(Answer):
    """One POST, or the error why there was none. `status` is the answer's, `answer` its first characters."""

    number: int
    started_at: datetime | None = None
    duration_ms: float | None = None
    status: int | None = None
    error: str | None = None
    answer: str | None = None


class Delivery(Answer):
    """An event that is owed to one receiver: pending, succeeded or failed.

    `attempts`, and the `data` that is told, are there only where one delivery was asked for.
    """

    id: str
    event: Event
    endpoint_id: str | None = None
    url: str
    state: str
    attempt_count: int = 0
    last_attempt: Attempt | None = None
    next_attempt_at: datetime | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    data: dict[str, Any] | None = None


class DeliveryPage(Answer):
    """One page of deliveries, and where the next one begins."""

    deliveries: tuple[Delivery, ...]
    next_cursor: str | None = None
