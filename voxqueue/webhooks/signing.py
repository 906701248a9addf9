"""What makes a delivery verifiable: the headers of Standard Webhooks. Knows neither rows nor how anything is sent."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from standardwebhooks import Webhook


def message_id(event_id: UUID) -> str:
    """An event's name on the wire. It is the same for every receiver and every attempt."""
    return f"evt_{event_id.hex}"


def signed_headers(event_id: UUID, at: datetime, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The id, the time of sending, and a signature with each secret that is valid now.

    Args:
        event_id: Of the event that is told of.
        at: When it is sent, with a time zone. Receivers refuse what is older than a few minutes.
        body: What is sent, UTF-8.
        secrets: `whsec_` and base64, at least one.
    """
    assert secrets, "nothing is sent without a signature"
    name, words = message_id(event_id), body.decode()
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(name, at.astimezone(UTC), words) for secret in secrets),
    }
