"""The facts about jobs that a caller can have told, and how one looks on the wire."""

from enum import StrEnum


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
