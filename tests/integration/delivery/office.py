"""The rows that say what is owed to whom, and whoever delivers it, for tests of deliveries."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import select, text, update

from tests.receiver import WAIT_S, Came, Receiver
from tests.wire import Said
from voxqueue.database.base import new_id
from voxqueue.database.session import Sessions
from voxqueue.jobs import submission
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.submission import Wishes
from voxqueue.keys.caller import ANYBODY, DEFAULT_TENANT
from voxqueue.settings import WebhooksSettings
from voxqueue.webhooks import endpoints
from voxqueue.webhooks.events import JOB_EVENTS, DeliveryState, EventType
from voxqueue.webhooks.models import Delivery, DeliveryAttempt, Event, WebhookEndpoint
from workers.delivery import Deliverer
from workers.outbound import Outbound

HOUR_S = 3600.0


def webhooks(*receivers: Receiver, **more: Any) -> WebhooksSettings:
    """Settings under which these may be called. Their second attempt comes in an hour, which no test waits for."""
    settings = {
        "schedule": (0, HOUR_S, HOUR_S),
        "timeout_s": 10,
        "allow_networks": ("127.0.0.0/8",),
        "allow_http": True,
        "ports": tuple(int(one.url.rpartition(":")[2]) for one in receivers),
    }
    return WebhooksSettings.model_validate(settings | more)


@dataclass
class Office:
    """The rows, and whoever delivers them."""

    sessions: Sessions
    _opened: ExitStack = field(default_factory=ExitStack)

    def open(self, *receivers: Receiver, **more: Any) -> Deliverer:
        """A courier's deliverer, at work until the test ends."""
        settings = webhooks(*receivers, **more)
        deliverer = Deliverer(self.sessions, Outbound(settings), settings)
        deliverer.start()
        self._opened.callback(deliverer.stop, WAIT_S)
        return deliverer

    def close(self) -> None:
        self._opened.close()

    def register(self, url: str, *events: EventType, tenant: str = DEFAULT_TENANT) -> tuple[UUID, str]:
        """An endpoint's id and secret."""
        with self.sessions.begin() as session:
            endpoint, secret = endpoints.create(session, tenant, url=url, events=events or JOB_EVENTS, description=None)
            return endpoint.id, secret.secret

    def owe(self, url: str, endpoint_id: UUID | None = None, job_id: UUID | None = None, number: int = 1) -> list[UUID]:
        """Deliveries of events of one job, in their order."""
        made = []
        for _ in range(number):
            with self.sessions.begin() as session:
                event = Event(
                    tenant=DEFAULT_TENANT, job_id=job_id or new_id(), type="job.succeeded", data={"job_id": "x"}
                )
                delivery = Delivery(event=event, endpoint_id=endpoint_id, url=url)
                session.add(delivery)
                session.flush()
                made.append(delivery.id)
        return made

    def delivery(self, delivery_id: UUID) -> Delivery:
        with self.sessions() as session:
            return session.get_one(Delivery, delivery_id)

    def attempts(self, delivery_id: UUID) -> list[DeliveryAttempt]:
        with self.sessions() as session:
            of_it = DeliveryAttempt.delivery_id == delivery_id
            return list(session.scalars(select(DeliveryAttempt).where(of_it).order_by(DeliveryAttempt.number)))

    def endpoint(self, endpoint_id: UUID) -> WebhookEndpoint:
        with self.sessions() as session:
            return session.get_one(WebhookEndpoint, endpoint_id)

    def settled(self, delivery_id: UUID, attempts: int = 1) -> Delivery:
        """The delivery once it has had so many attempts, and nobody is at it."""
        eventually(lambda: self.delivery(delivery_id), lambda one: one.attempts >= attempts and one.lease_until is None)
        return self.delivery(delivery_id)

    def make_due(self) -> None:
        """Let the time pass that deliveries wait for."""
        with self.sessions.begin() as session:
            session.execute(
                update(Delivery).where(Delivery.state == DeliveryState.PENDING).values(due_at=text("now()"))
            )


def eventually(look: Callable[[], Any], is_so: Callable[[Any], bool]) -> Any:
    until = time.monotonic() + WAIT_S
    while not is_so(seen := look()):
        assert time.monotonic() < until, f"still {seen}"
        time.sleep(0.01)
    return seen


def in_turn(*statuses: int, **headers: str) -> Callable[[Came], Said]:
    """Answers with one status after the other, and the last one ever after."""
    left = list(statuses)
    lock = threading.Lock()

    def answer(_: Came) -> Said:
        with lock:
            return Said(left.pop(0) if len(left) > 1 else left[0], b"so it is", headers)

    return answer


def submit(sessions: Sessions, url: str | None, *events: EventType) -> UUID:
    wishes = Wishes(
        kind=Kind.CHAT,
        text="hi",
        metadata={"name": "Grüße"},
        webhook_url=url,
        webhook_events=[one.value for one in events] or None,
    )
    with sessions.begin() as session:
        return submission.submit(session, ANYBODY, wishes).id
