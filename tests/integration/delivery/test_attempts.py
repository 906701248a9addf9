"""Deliveries from rows to real receivers: each is made, signed and written down."""

from datetime import UTC, datetime

import pytest

from tests.integration.delivery.office import HOUR_S, Office, in_turn, submit
from tests.moves import claim, done, move
from tests.receiver import WAIT_S, Receiver, receiving
from voxqueue.jobs import lifecycle
from voxqueue.keys.caller import DEFAULT_TENANT
from voxqueue.stages import Stage
from voxqueue.webhooks import endpoints
from voxqueue.webhooks.events import JOB_EVENTS, DeliveryState
from voxqueue.webhooks.models import SigningSecret

pytestmark = pytest.mark.integration


def test_a_job_is_told_from_its_start_to_its_end_in_order_and_signed(office: Office) -> None:
    with receiving() as of_job, receiving() as of_endpoint:
        _, secret = office.register(f"{of_endpoint.url}/hook")
        job_id = submit(office.sessions, of_job.url, *JOB_EVENTS)
        attempt = claim(office.sessions, str(job_id))
        assert move(office.sessions, lifecycle.proceed(job_id, attempt, done(Stage.LLM), Stage.TTS, lease_s=60)).owes
        assert move(office.sessions, lifecycle.succeed(job_id, attempt, done(Stage.TTS))).owes
        office.open(of_job, of_endpoint)
        books = of_job.wait(4), of_endpoint.wait(4)
    with office.sessions() as session:
        [tenants] = endpoints.valid_secrets(session, DEFAULT_TENANT, None)
    for book, signed_with in zip(books, (tenants.secret, secret), strict=True):
        assert [came.event["type"] for came in book] == [
            "job.started",
            "job.stage_completed",
            "job.stage_completed",
            "job.succeeded",
        ]
        sequences = [came.event["sequence"] for came in book]
        assert sequences == sorted(set(sequences))
        for came in book:
            came.verify(signed_with)
            assert came.headers["content-type"] == "application/json"
            assert came.headers["user-agent"].startswith("Voxqueue/")
            assert came.event["data"]["job_id"] == str(job_id)
            assert came.event["data"]["metadata"] == {"name": "Grüße"}
            sent_at = datetime.fromtimestamp(int(came.headers["webhook-timestamp"]), UTC)
            assert abs((datetime.fromisoformat(came.event["timestamp"]) - sent_at).total_seconds()) < 60
    assert {came.id for came in books[0]} == {came.id for came in books[1]}, "one event, whoever is told of it"


def test_every_valid_secret_signs_and_no_other(office: Office, receiver: Receiver) -> None:
    endpoint_id, old = office.register(receiver.url)
    with office.sessions.begin() as session:
        new = endpoints.rotate(session, DEFAULT_TENANT, endpoint_id, overlap_s=HOUR_S).secret
        expired = SigningSecret(
            tenant=DEFAULT_TENANT, endpoint_id=endpoint_id, secret="whsec_AAAA", expires_at=datetime.now(UTC)
        )
        session.add(expired)
    office.owe(receiver.url, endpoint_id)
    office.open(receiver)
    [came] = receiver.wait()
    assert len(came.headers["webhook-signature"].split()) == 2
    came.verify(old)
    came.verify(new)


def test_an_attempt_is_written_down(office: Office) -> None:
    with receiving(in_turn(500)) as receiver:
        [delivery_id] = office.owe(receiver.url)
        office.open(receiver)
        delivery = office.settled(delivery_id)
    [attempt] = office.attempts(delivery_id)
    assert (attempt.number, attempt.status, attempt.error, attempt.answer) == (1, 500, None, "so it is")
    assert attempt.duration_ms > 0
    assert delivery.created_at <= attempt.started_at
    assert (delivery.state, delivery.finished_at) == (DeliveryState.PENDING, None)
    assert 0.9 * HOUR_S <= (delivery.due_at - attempt.started_at).total_seconds() <= 1.1 * HOUR_S + WAIT_S


def test_what_failed_is_sent_again_with_the_same_id_and_the_same_bytes(office: Office) -> None:
    with receiving(in_turn(500, 204)) as receiver:
        [delivery_id] = office.owe(receiver.url)
        deliverer = office.open(receiver)
        office.settled(delivery_id)
        office.make_due()
        deliverer.nudge()
        delivery = office.settled(delivery_id, attempts=2)
    first, second = receiver.book
    assert first.id == second.id
    assert first.body == second.body
    assert (delivery.state, delivery.finished_at is not None) == (DeliveryState.SUCCEEDED, True)
    assert [attempt.status for attempt in office.attempts(delivery_id)] == [500, 204]


def test_after_the_last_attempt_a_delivery_has_failed(office: Office) -> None:
    with receiving(in_turn(404)) as receiver:
        [delivery_id] = office.owe(receiver.url)
        deliverer = office.open(receiver, schedule=(0, 0, 0))
        delivery = office.settled(delivery_id, attempts=3)
        deliverer.nudge()
    assert (delivery.state, delivery.finished_at is not None) == (DeliveryState.FAILED, True)
    assert len(receiver.book) == 3


def test_who_asks_to_wait_is_left_alone_for_so_long(office: Office) -> None:
    with receiving(in_turn(503, **{"Retry-After": "20000"})) as receiver:
        [delivery_id] = office.owe(receiver.url)
        office.open(receiver)
        delivery = office.settled(delivery_id)
    [attempt] = office.attempts(delivery_id)
    assert (delivery.due_at - attempt.started_at).total_seconds() >= 20_000


def test_an_address_that_may_not_be_called_is_a_failed_attempt(office: Office, receiver: Receiver) -> None:
    """What was allowed when it was registered may not be allowed any more."""
    [delivery_id] = office.owe("http://169.254.169.254/latest")
    office.open(receiver, ports=(80,))
    office.settled(delivery_id)
    [attempt] = office.attempts(delivery_id)
    assert (attempt.status, attempt.answer) == (None, None)
    assert attempt.error is not None
    assert "private or reserved network" in attempt.error
