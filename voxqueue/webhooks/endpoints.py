"""A tenant's webhook endpoints and the secrets that sign for it: the rules and every query, each with a sentence.

The caller commits. Knows nothing of HTTP, nor of how anything is sent.
"""

import base64
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import TypedDict
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, text, update
from sqlalchemy.orm import Session

from voxqueue.errors import InvalidRequest, NotFound, TooManyEndpoints
from voxqueue.webhooks.addresses import InvalidAddress
from voxqueue.webhooks.events import JOB_EVENTS, DeliveryState, EventType
from voxqueue.webhooks.models import Delivery, SigningSecret, WebhookEndpoint
from voxqueue.webhooks.names import Names

MOST_ENDPOINTS = 50
DESCRIPTION_CHARS = 500
ENDPOINT_EVENTS = (*JOB_EVENTS, EventType.ENDPOINT_DISABLED)
"""What an endpoint can be told of. A test of it comes unasked."""

_MOST_SECRETS = 5  # that sign at a time: each costs a signature in every delivery
_SECRET_BYTES = 32
_FORGOTTEN_AT_ONCE = 5_000
_LOCK = 0x7677


class Changes(TypedDict, total=False):
    """What is to be otherwise about an endpoint; what is missing stays."""

    url: str
    events: list[EventType]
    description: str | None
    enabled: bool


def check_address(field: str, url: str, names: Names) -> None:
    """Raise `InvalidRequest`, naming the field, for an address that nothing may be sent to."""
    try:
        names.check(url)
    except InvalidAddress as error:
        raise InvalidRequest.of((field, str(error))) from error


# --- endpoints --------------------------------------------------------------------------------------------------------


def create(
    session: Session, tenant: str, *, url: str, events: Sequence[EventType], description: str | None
) -> tuple[WebhookEndpoint, SigningSecret]:
    """Register a checked address, with a secret of its own. Raises `TooManyEndpoints`."""
    _lock(session, tenant)  # two at a time would both be the last one allowed
    of_tenant = WebhookEndpoint.tenant == tenant
    if (session.scalar(select(func.count()).select_from(WebhookEndpoint).where(of_tenant)) or 0) >= MOST_ENDPOINTS:
        raise TooManyEndpoints(f"There are {MOST_ENDPOINTS} webhook endpoints already. Delete one that is not needed.")
    endpoint = WebhookEndpoint(tenant=tenant, url=url, events=[one.value for one in events], description=description)
    session.add(endpoint)
    session.flush()
    return endpoint, _add_secret(session, tenant, endpoint.id)


def get(session: Session, endpoint_id: UUID, tenant: str, *, lock: bool = False) -> WebhookEndpoint:
    """One endpoint; locked, nobody else changes it until the commit. Raises `NotFound`, also for a stranger's."""
    # No stronger lock than needed: what owes deliveries to the endpoint goes on meanwhile.
    endpoint = session.get(WebhookEndpoint, endpoint_id, with_for_update={"key_share": True} if lock else None)
    if endpoint is None or endpoint.tenant != tenant:
        raise NotFound(f"There is no webhook endpoint {endpoint_id}.")
    return endpoint


def every(session: Session, tenant: str) -> Sequence[WebhookEndpoint]:
    """All endpoints of a tenant, the newest first."""
    query = select(WebhookEndpoint).where(WebhookEndpoint.tenant == tenant).order_by(WebhookEndpoint.id.desc())
    return session.scalars(query).all()


def change(session: Session, endpoint: WebhookEndpoint, changes: Changes) -> None:
    """Change a locked endpoint. What is owed to it goes to its new address.

    Enabled again, or with another address, it starts clean: its failures until then are forgotten. Of one that is
    disabled, the caller fails what is owed, as couriers do.
    """
    if "url" in changes and changes["url"] != endpoint.url:
        endpoint.url = changes["url"]
        endpoint.failing_since = None
        owed = (Delivery.endpoint_id == endpoint.id, Delivery.state == DeliveryState.PENDING)
        moved = update(Delivery).where(*owed).values(url=endpoint.url)
        session.execute(moved.execution_options(synchronize_session=False))
    if "events" in changes:
        endpoint.events = [one.value for one in changes["events"]]
    if "description" in changes:
        endpoint.description = changes["description"]
    if "enabled" in changes and changes["enabled"] != endpoint.enabled:
        endpoint.enabled = changes["enabled"]
        endpoint.failing_since = endpoint.disabled_reason = None
    session.flush()


def forget_deliveries(session: Session, endpoint_id: UUID) -> bool:
    """Delete a number of an endpoint's deliveries; whether there may be more."""
    some = select(Delivery.id).where(Delivery.endpoint_id == endpoint_id).limit(_FORGOTTEN_AT_ONCE)
    forgotten = delete(Delivery).where(Delivery.id.in_(some.scalar_subquery())).returning(Delivery.id)
    found = session.scalars(forgotten.execution_options(synchronize_session=False)).all()
    return len(found) == _FORGOTTEN_AT_ONCE


def remove(session: Session, endpoint_id: UUID) -> None:
    """Delete a disabled endpoint and its secrets.

    Jobs that owe it something wait until the commit, so its many deliveries should be gone by now.
    """
    session.execute(delete(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id))


# --- secrets ----------------------------------------------------------------------------------------------------------


def valid_secrets(session: Session, tenant: str, endpoint_id: UUID | None) -> Sequence[SigningSecret]:
    """What signs now, the newest first: for an endpoint, or without one for the addresses of single jobs."""
    query = select(SigningSecret).where(_owned(tenant, endpoint_id), _is_valid()).order_by(SigningSecret.id.desc())
    return session.scalars(query).all()


def rotate(session: Session, tenant: str, endpoint_id: UUID | None, *, overlap_s: float) -> SigningSecret:
    """Make a new secret. Those there are sign beside it for `overlap_s` seconds, but no more than four of them."""
    _lock(session, tenant)
    owned = _owned(tenant, endpoint_id)
    session.execute(
        update(SigningSecret)
        .where(owned, SigningSecret.expires_at.is_(None))
        .values(expires_at=func.now() + timedelta(seconds=overlap_s))
        .execution_options(synchronize_session=False)
    )
    made = _add_secret(session, tenant, endpoint_id)
    kept = select(SigningSecret.id).where(owned, _is_valid()).order_by(SigningSecret.id.desc()).limit(_MOST_SECRETS)
    session.execute(
        delete(SigningSecret)
        .where(owned, SigningSecret.id.not_in(kept.scalar_subquery()))
        .execution_options(synchronize_session=False)
    )
    return made


def _add_secret(session: Session, tenant: str, endpoint_id: UUID | None) -> SigningSecret:
    words = base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    made = SigningSecret(tenant=tenant, endpoint_id=endpoint_id, secret=f"whsec_{words}")
    session.add(made)
    session.flush()
    return made


def _owned(tenant: str, endpoint_id: UUID | None) -> ColumnElement[bool]:
    return and_(SigningSecret.tenant == tenant, SigningSecret.endpoint_id.is_not_distinct_from(endpoint_id))


def _is_valid() -> ColumnElement[bool]:
    return or_(SigningSecret.expires_at.is_(None), SigningSecret.expires_at > func.now())


def _lock(session: Session, tenant: str) -> None:
    """Have no other change of this tenant's endpoints or secrets beside us; holds until the transaction ends."""
    session.execute(text("SELECT pg_advisory_xact_lock(:lock, hashtext(:tenant))"), {"lock": _LOCK, "tenant": tenant})
