"""The facts about jobs that a caller can have told, and how one looks on the wire."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class EventType(StrEnum):
    """What has happened."""

    JOB_STARTED = "job.started"
    JOB_STAGE_COMPLETED = "job.stage_completed"
    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELED = "job.canceled"
    ENDPOINT_DISABLED = "webhook_endpoint.disabled"
    ENDPOINT_TESTED = "webhook_endpoint.tested"


JOB_EVENTS = tuple(one for one in EventType if one.startswith("job."))
TERMINAL_EVENTS = (EventType.JOB_SUCCEEDED, EventType.JOB_FAILED, EventType.JOB_CANCELED)


class DeliveryState(StrEnum):
    """The state of an event that is owed to one receiver."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


def body(event_type: str, *, created_at: datetime, sequence: int, data: dict[str, Any]) -> bytes:
    """An event on the wire, the same bytes each time. A receiver sorts a job's events by their sequence."""
    timestamp = created_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    members = {"type": event_type, "timestamp": timestamp, "sequence": sequence, "data": data}
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
