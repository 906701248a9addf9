"""Deliveries as their tenant sees them: what is owed to whom, how it went, and owing it once more.

The caller commits, and then asks for delivery. Couriers have queries of their own in `repository`.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session, contains_eager

from voxqueue.errors import EndpointDisabled, NotFound
from voxqueue.webhooks.events import DeliveryState, EventType
from voxqueue.webhooks.models import Delivery, DeliveryAttempt, Event, WebhookEndpoint

Place = tuple[int, datetime, UUID]
"""Where a delivery stands among those of its tenant."""


def page(
    session: Session,
    tenant: str,
    *,
    limit: int,
    after: Place | None = None,
    endpoint_id: UUID | None = None,
    job_id: UUID | None = None,
    state: DeliveryState | None = None,
) -> Sequence[Delivery]:
    """A tenant's deliveries from the newest event on, those behind a place; at most `limit`."""
    place = (Event.position, Delivery.created_at, Delivery.id)
    query = select(Delivery).join(Delivery.event).options(contains_eager(Delivery.event)).where(Event.tenant == tenant)
    if after is not None:
        query = query.where(tuple_(*place) < tuple_(*after))
    if endpoint_id is not None:
        query = query.where(Delivery.endpoint_id == endpoint_id)
    if job_id is not None:
        query = query.where(Event.job_id == job_id)
    if state is not None:
        query = query.where(Delivery.state == state)
    return session.scalars(query.order_by(*(column.desc() for column in place)).limit(limit)).all()


def place_of(delivery: Delivery) -> Place:
    """What the next page comes after."""
    return delivery.event.position, delivery.created_at, delivery.id


def get(session: Session, delivery_id: UUID, tenant: str) -> Delivery:
    """One delivery with its event. Raises `NotFound`, also for a stranger's."""
    delivery = session.get(Delivery, delivery_id)
    if delivery is None or delivery.event.tenant != tenant:
        raise NotFound(f"There is no delivery {delivery_id}.")
    return delivery


def attempts_at(session: Session, delivery: Delivery) -> Sequence[DeliveryAttempt]:
    """Every attempt at a delivery, in order."""
    of_it = DeliveryAttempt.delivery_id == delivery.id
    return session.scalars(select(DeliveryAttempt).where(of_it).order_by(DeliveryAttempt.number)).all()


def owe_test(session: Session, endpoint: WebhookEndpoint) -> Delivery:
    """Owe an endpoint, and nobody else, the event that it is being tested. Raises `EndpointDisabled`."""
    _check_enabled(endpoint)
    data = {"endpoint_id": str(endpoint.id)}
    event = Event(tenant=endpoint.tenant, type=EventType.ENDPOINT_TESTED.value, data=data)
    return _owe(session, Delivery(event=event, endpoint_id=endpoint.id, url=endpoint.url))


def owe_again(session: Session, delivery: Delivery) -> Delivery:
    """Owe the same event to the same receiver once more, at the address that its endpoint has now.

    Raises `EndpointDisabled`.
    """
    endpoint = None if delivery.endpoint_id is None else session.get(WebhookEndpoint, delivery.endpoint_id)
    if endpoint is not None:
        _check_enabled(endpoint)
    url = delivery.url if endpoint is None else endpoint.url
    return _owe(session, Delivery(event=delivery.event, endpoint_id=delivery.endpoint_id, url=url))


def _check_enabled(endpoint: WebhookEndpoint) -> None:
    if not endpoint.enabled:
        why = endpoint.disabled_reason or "You have disabled it."
        raise EndpointDisabled(f"Nothing is sent to this endpoint: {why} Enable it first, by a PATCH of `enabled`.")


def _owe(session: Session, delivery: Delivery) -> Delivery:
    session.add(delivery)
    session.flush()
    session.refresh(delivery)
    return delivery
