"""The rows: endpoints, secrets, events, what is owed of them, and every attempt. Events are written by `lifecycle`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Computed, ForeignKey, Identity, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from voxqueue.database.base import Base, new_id
from voxqueue.webhooks.events import DeliveryState


class WebhookEndpoint(Base):
    """An address that a tenant has registered, and the events that it is told of.

    `failing_since` is when the first of the failures came that nothing has succeeded after.
    """

    __tablename__ = "webhook_endpoints"
    __table_args__ = (Index(None, "tenant"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant: Mapped[str]
    url: Mapped[str]
    events: Mapped[list[str]] = mapped_column(JSONB)
    description: Mapped[str | None]
    enabled: Mapped[bool] = mapped_column(default=True)
    disabled_reason: Mapped[str | None]
    failing_since: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SigningSecret(Base):
    """What deliveries are signed with: an endpoint's, or without one the tenant's, for the addresses of single jobs.

    Where several are valid, deliveries carry a signature of each: whoever changes secrets has time to do so.
    """

    __tablename__ = "signing_secrets"
    __table_args__ = (Index(None, "tenant"), Index(None, "endpoint_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant: Mapped[str]
    endpoint_id: Mapped[UUID | None] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    secret: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]


class Event(Base):
    """A fact about a job, written in the transaction that made it true. `position` orders a tenant's events.

    It outlives its job: what is owed to a receiver stays owed.
    """

    __tablename__ = "events"
    __table_args__ = (Index(None, "job_id"), Index(None, "tenant", "position"), Index(None, "created_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    position: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    tenant: Mapped[str]
    job_id: Mapped[UUID | None]
    type: Mapped[str]
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Delivery(Base):
    """An event owed to one receiver. Without an endpoint, the address is the one that came with the job.

    `due_at` is when the next attempt may be made, `lease_until` until when a courier is at it. `host` is that of the
    address, port included: couriers go host by host, so that what piles up for one is not in the way of the others.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        CheckConstraint(f"state IN ({', '.join(repr(one.value) for one in DeliveryState)})", name="state"),
        CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="finished"),
        Index("ix_deliveries_pending", "host", "due_at", postgresql_where=text("state = 'pending'")),
        Index(None, "event_id"),
        Index(None, "endpoint_id", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"))
    endpoint_id: Mapped[UUID | None] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    url: Mapped[str]
    host: Mapped[str] = mapped_column(Computed("split_part(lower(url), '/', 3)", persisted=True))
    state: Mapped[DeliveryState] = mapped_column(server_default=DeliveryState.PENDING.value)
    attempts: Mapped[int] = mapped_column(server_default="0")
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]

    event: Mapped[Event] = relationship(lazy="joined")
    last_attempt: Mapped["DeliveryAttempt | None"] = relationship(
        primaryjoin="and_(Delivery.id == foreign(DeliveryAttempt.delivery_id), "
        "Delivery.attempts == foreign(DeliveryAttempt.number))",
        viewonly=True,
        lazy="joined",
    )


class DeliveryAttempt(Base):
    """One POST, or why there was none. `status` is the answer's, `answer` its first characters."""

    __tablename__ = "delivery_attempts"

    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    started_at: Mapped[datetime]
    duration_ms: Mapped[float]
    status: Mapped[int | None]
    error: Mapped[str | None]
    answer: Mapped[str | None]
