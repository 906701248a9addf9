"""Plays the tenant, who registers endpoints and submits jobs, and the couriers, who leave rows behind."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import func, update

from voxqueue.database.session import Sessions
from voxqueue.webhooks.events import TERMINAL_EVENTS, DeliveryState
from voxqueue.webhooks.models import Delivery, DeliveryAttempt, WebhookEndpoint

ADDRESS = "https://hooks.example.com/voxqueue"
ENDPOINTS = "/v1/webhooks/endpoints"
DELIVERIES = "/v1/webhooks/deliveries"
SECRET = "/v1/webhooks/secret"
TERMINAL = [event.value for event in TERMINAL_EVENTS]


def registered(api: httpx.Client, **members: Any) -> dict[str, Any]:
    answer = api.post(ENDPOINTS, json={"url": ADDRESS, **members})
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def submitted(api: httpx.Client, **members: Any) -> str:
    answer = api.post("/v1/texts", json={"text": "Hello.", "kind": "reply", **members})
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def failing(sessions: Sessions, endpoint_id: str, **values: Any) -> None:
    """Have an endpoint look as couriers leave it after failures."""
    with sessions.begin() as session:
        of_it = WebhookEndpoint.id == UUID(endpoint_id)
        session.execute(update(WebhookEndpoint).where(of_it).values(failing_since=func.now(), **values))


def told(sessions: Sessions, delivery_id: str, state: DeliveryState, *attempts: DeliveryAttempt) -> None:
    """Have a delivery look as couriers leave it."""
    with sessions.begin() as session:
        delivery = session.get(Delivery, UUID(delivery_id))
        assert delivery is not None
        delivery.state = state
        delivery.attempts = len(attempts)
        delivery.finished_at = None if state is DeliveryState.PENDING else datetime.now(UTC)
        session.add_all(attempts)
