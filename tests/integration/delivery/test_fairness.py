"""Who is in whose way: receivers that hang, events of one job, couriers beside one another."""

import logging
import threading
from contextlib import ExitStack

import pytest
from sqlalchemy import select

from tests.integration.delivery.office import HOUR_S, Office, eventually, in_turn
from tests.receiver import WAIT_S, Came, Receiver, hanging, receiving
from tests.wire import Said
from voxqueue.database.base import new_id
from voxqueue.webhooks import repository
from voxqueue.webhooks.events import DeliveryState
from voxqueue.webhooks.models import DeliveryAttempt
from voxqueue.webhooks.repository import Owed
from voxqueue.webhooks.schedule import Attempt, Verdict

pytestmark = pytest.mark.integration


def test_a_receiver_that_hangs_holds_nobody_up(office: Office) -> None:
    """So much is owed to those that hang that it would take all places many times over."""
    with ExitStack() as stack:
        hung = [stack.enter_context(hanging()) for _ in range(7)]
        healthy = stack.enter_context(receiving())
        for one in hung:
            for _ in range(10):
                office.owe(one.url)
        office.open(*hung, healthy, parallel=8, parallel_per_host=4, timeout_s=WAIT_S)
        for one in hung:
            one.wait()
        made = [delivery for _ in range(10) for delivery in office.owe(healthy.url)]
        healthy.wait(10)
        for delivery_id in made:
            assert office.settled(delivery_id).state is DeliveryState.SUCCEEDED
        with office.sessions() as session:
            assert set(session.scalars(select(DeliveryAttempt.delivery_id))) == set(made), "the others still hang"


def test_a_host_has_no_more_under_way_than_it_may(office: Office) -> None:
    may_answer, most, now = threading.Semaphore(0), 0, 0
    lock = threading.Lock()

    def answer(_: Came) -> Said:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        may_answer.acquire(timeout=WAIT_S)
        with lock:
            now -= 1
        return Said(204)

    with receiving(answer) as receiver:
        made = [delivery for _ in range(12) for delivery in office.owe(receiver.url)]
        deliverer = office.open(receiver, parallel_per_host=3)
        receiver.wait(1)
        may_answer.release()  # it is not known to answer before
        for answered in range(1, 13):
            receiver.wait(min(12, answered + 3))
            deliverer.nudge()
            may_answer.release()
        for delivery_id in made:
            office.settled(delivery_id)
    assert most == 3


def test_each_host_has_its_own_room_and_an_unknown_one_has_one(office: Office) -> None:
    for host in ("a.example", "b.example", "c.example", "d.example:444"):
        for _ in range(3):
            office.owe(f"https://{host.upper()}/x")
    rooms = {"a.example": 2, "b.example": 0, "z.example": 5}
    with office.sessions.begin() as session:
        claimed = repository.claim(session, limit=9, rooms=rooms, lease_s=60, rotation_s=HOUR_S)
    assert [owed.host for owed in claimed] == ["a.example", "a.example", "c.example", "d.example:444"]


def test_an_event_waits_for_the_one_before_it_until_that_was_tried(office: Office) -> None:
    may_answer = threading.Event()

    def answer(came: Came) -> Said:
        if came.path == "/known":
            return Said(204)
        may_answer.wait(WAIT_S)
        return Said(500)

    with receiving(answer) as receiver, receiving() as other:
        [known] = office.owe(f"{receiver.url}/known")
        deliverer = office.open(receiver, other)
        office.settled(known)
        job_id = new_id()
        first, second = office.owe(receiver.url, job_id=job_id, number=2)
        [elsewhere] = office.owe(other.url, job_id=job_id)
        [of_other_job] = office.owe(receiver.url)
        deliverer.nudge()
        receiver.wait(3)
        assert office.settled(elsewhere).state is DeliveryState.SUCCEEDED, "another receiver waits for nothing"
        assert office.delivery(second).lease_until is None
        may_answer.set()
        for delivery_id in (first, second, of_other_job):
            assert office.settled(delivery_id).state is DeliveryState.PENDING, "the first has failed, and is in no way"
        deliverer.nudge()
    sequences = [came.event["sequence"] for came in receiver.book]
    assert sequences[-1] == office.delivery(second).event.position


def test_many_couriers_send_each_once(office: Office, receiver: Receiver) -> None:
    made = [delivery for _ in range(60) for delivery in office.owe(receiver.url)]
    for _ in range(3):
        office.open(receiver, parallel_per_host=8)
    for delivery_id in made:
        assert office.settled(delivery_id).attempts == 1
    assert len(receiver.book) == len({came.id for came in receiver.book}) == 60


def hold(office: Office, lease_s: float) -> Owed:
    """Claim the one delivery there is, as a courier that then does nothing more."""
    with office.sessions.begin() as session:
        [owed] = repository.claim(session, limit=1, rooms={}, lease_s=lease_s, rotation_s=HOUR_S)
    return owed


def test_who_has_lost_a_delivery_writes_its_attempt_down_and_decides_nothing(
    office: Office, receiver: Receiver
) -> None:
    [delivery_id] = office.owe(receiver.url)
    slow = hold(office, lease_s=0)
    office.open(receiver)
    assert office.settled(delivery_id).state is DeliveryState.SUCCEEDED
    with office.sessions.begin() as session:
        late = Attempt(duration_ms=1, error="late")
        repository.record(session, slow, late, Verdict(DeliveryState.FAILED), disable_after_s=HOUR_S)
    delivery = office.delivery(delivery_id)
    assert (delivery.state, delivery.attempts) == (DeliveryState.SUCCEEDED, 2)
    assert [attempt.error for attempt in office.attempts(delivery_id)] == [None, "late"]


def test_what_somebody_is_at_is_not_to_be_had(office: Office, receiver: Receiver) -> None:
    office.owe(receiver.url)
    hold(office, lease_s=60)
    with office.sessions.begin() as session:
        again = repository.claim(session, limit=9, rooms={}, lease_s=60, rotation_s=HOUR_S)
    assert again == []


def test_a_deliverer_that_stops_begins_nothing_more(office: Office, receiver: Receiver) -> None:
    deliverer = office.open(receiver)
    deliverer.stop(WAIT_S)
    [delivery_id] = office.owe(receiver.url)
    deliverer.nudge()
    assert office.delivery(delivery_id).lease_until is None
    assert receiver.book == []


def test_logs_hold_neither_secrets_nor_addresses_nor_what_is_sent(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(in_turn(410)) as receiver, caplog.at_level(logging.DEBUG):
        endpoint_id, secret = office.register(f"{receiver.url}/token-in-the-path?key=token")
        [delivery_id] = office.owe(f"{receiver.url}/token-in-the-path?key=token", endpoint_id)
        office.open(receiver)
        office.settled(delivery_id)
        eventually(lambda: caplog.text, lambda words: "is disabled" in words)
    [came] = receiver.book
    for secretive in (secret, "token", came.headers["webhook-signature"], '"job_id"', "so it is"):
        assert secretive not in caplog.text
