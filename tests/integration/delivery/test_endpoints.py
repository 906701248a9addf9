"""Endpoints that fail, are disabled or go away: when that is noticed, and what becomes of what is owed to them."""

import threading
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import select, text, update

from tests.integration.delivery.office import Office, eventually, in_turn
from tests.receiver import WAIT_S, Came, Receiver, receiving
from tests.wire import Said
from voxqueue.keys.caller import DEFAULT_TENANT
from voxqueue.webhooks import endpoints
from voxqueue.webhooks.events import DeliveryState, EventType
from voxqueue.webhooks.models import Delivery, DeliveryAttempt, Event, WebhookEndpoint

pytestmark = pytest.mark.integration


def test_gone_disables_an_endpoint_and_what_is_owed_to_it_fails(office: Office) -> None:
    with receiving(in_turn(410)) as gone, receiving() as other, receiving() as stranger, receiving() as deaf:
        endpoint_id, _ = office.register(gone.url)
        office.register(other.url, EventType.ENDPOINT_DISABLED)
        office.register(stranger.url, EventType.ENDPOINT_DISABLED, tenant="stranger")
        office.register(deaf.url, EventType.JOB_FAILED)
        [first] = office.owe(gone.url, endpoint_id)
        with office.sessions.begin() as session:
            for _ in range(3):
                event = Event(tenant=DEFAULT_TENANT, type="job.failed", data={})
                session.add(
                    Delivery(
                        event=event, endpoint_id=endpoint_id, url=gone.url, due_at=datetime(2100, 1, 1, tzinfo=UTC)
                    )
                )
        office.open(gone, other, stranger, deaf)
        [told] = other.wait()
        assert office.settled(first).state is DeliveryState.FAILED
        owed = eventually(lambda: _owed_to(office, endpoint_id), lambda states: "pending" not in states)
    assert owed == ["failed"] * 4
    endpoint = office.endpoint(endpoint_id)
    assert (endpoint.enabled, endpoint.disabled_reason) == (False, "It answered 410 Gone.")
    assert told.event["type"] == "webhook_endpoint.disabled"
    assert told.event["data"] == {"endpoint_id": str(endpoint_id), "reason": "It answered 410 Gone."}
    assert stranger.book == deaf.book == []
    assert len(gone.book) == 1
    with office.sessions() as session:
        errors = set(session.scalars(select(DeliveryAttempt.error).where(DeliveryAttempt.status.is_(None))))
    assert errors == {"The endpoint is disabled. It answered 410 Gone."}


def _owed_to(office: Office, endpoint_id: UUID) -> list[str]:
    with office.sessions() as session:
        return [one.value for one in session.scalars(select(Delivery.state).where(Delivery.endpoint_id == endpoint_id))]


def test_an_endpoint_that_has_failed_for_long_and_nothing_but_failed_is_disabled(office: Office) -> None:
    with receiving(in_turn(500)) as receiver:
        endpoint_id, _ = office.register(receiver.url)
        deliverer = office.open(receiver)
        [first] = office.owe(receiver.url, endpoint_id)
        deliverer.nudge()
        assert office.settled(first).state is DeliveryState.PENDING
        endpoint = office.endpoint(endpoint_id)
        assert endpoint.enabled
        assert endpoint.failing_since is not None
        with office.sessions.begin() as session:
            long_ago = text("now() - interval '6 days'")
            session.execute(update(WebhookEndpoint).values(failing_since=long_ago))
        office.make_due()
        deliverer.nudge()
        delivery = office.settled(first, attempts=2)
    assert delivery.state is DeliveryState.FAILED
    endpoint = office.endpoint(endpoint_id)
    assert not endpoint.enabled
    assert endpoint.disabled_reason is not None
    assert "every attempt since" in endpoint.disabled_reason


def test_one_success_makes_up_for_all_failures_before(office: Office, receiver: Receiver) -> None:
    endpoint_id, _ = office.register(receiver.url)
    with office.sessions.begin() as session:
        session.execute(update(WebhookEndpoint).values(failing_since=text("now() - interval '6 days'")))
    [delivery_id] = office.owe(receiver.url, endpoint_id)
    office.open(receiver)
    assert office.settled(delivery_id).state is DeliveryState.SUCCEEDED
    endpoint = office.endpoint(endpoint_id)
    assert (endpoint.enabled, endpoint.failing_since) == (True, None)


def test_nothing_is_sent_to_a_disabled_endpoint(office: Office, receiver: Receiver) -> None:
    endpoint_id, _ = office.register(receiver.url)
    with office.sessions.begin() as session:
        session.execute(update(WebhookEndpoint).values(enabled=False))
    [delivery_id] = office.owe(receiver.url, endpoint_id)
    office.open(receiver)
    assert office.settled(delivery_id).state is DeliveryState.FAILED
    assert [attempt.error for attempt in office.attempts(delivery_id)] == ["The endpoint is disabled."]
    assert receiver.book == []


def test_an_endpoint_deleted_while_it_is_called_takes_its_ledger_with_it(office: Office) -> None:
    may_answer = threading.Event()

    def answer(_: Came) -> Said:
        may_answer.wait(WAIT_S)
        return Said(204)

    with receiving(answer) as receiver, receiving() as other:
        endpoint_id, _ = office.register(receiver.url)
        office.owe(receiver.url, endpoint_id)
        deliverer = office.open(receiver, other)
        receiver.wait()
        with office.sessions.begin() as session:
            endpoints.remove(session, endpoint_id)
        may_answer.set()
        [after] = office.owe(other.url)
        deliverer.nudge()
        assert office.settled(after).state is DeliveryState.SUCCEEDED
    with office.sessions() as session:
        assert session.scalars(select(DeliveryAttempt.delivery_id)).all() == [after]
