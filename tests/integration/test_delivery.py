"""Deliveries from rows to real receivers: each is made, signed and written down, and keeps out of the others' way."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import redis
from opentelemetry.trace import SpanKind
from sqlalchemy import select, text, update

from tests.moves import claim, done
from tests.receiver import Came, Receiver, hanging, receiving
from tests.wire import Said
from voxqueue import tracing
from voxqueue.database.base import new_id
from voxqueue.database.session import Sessions
from voxqueue.jobs import lifecycle, submission
from voxqueue.jobs.changes import Announcer
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.lifecycle import Move
from voxqueue.jobs.submission import Wishes
from voxqueue.keys.caller import ANYBODY, DEFAULT_TENANT
from voxqueue.queue import UPKEEP_QUEUE, JobQueue
from voxqueue.settings import DatabaseSettings, JobsSettings, RedisSettings, Settings, StorageSettings, WebhooksSettings
from voxqueue.stages import Stage
from voxqueue.webhooks import endpoints, repository
from voxqueue.webhooks.events import JOB_EVENTS, DeliveryState, EventType
from voxqueue.webhooks.models import Delivery, DeliveryAttempt, Event, SigningSecret, WebhookEndpoint
from voxqueue.webhooks.repository import Owed
from voxqueue.webhooks.schedule import Attempt, Verdict
from workers.delivery import Deliverer
from workers.ledger import Ledger
from workers.outbound import Outbound
from workers.upkeep.sweeps import jobs_sweep

pytestmark = pytest.mark.integration

_WAIT_S = 20.0
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
        self._opened.callback(deliverer.stop, _WAIT_S)
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
    until = time.monotonic() + _WAIT_S
    while not is_so(seen := look()):
        assert time.monotonic() < until, f"still {seen}"
        time.sleep(0.01)
    return seen


@pytest.fixture
def office(sessions: Sessions) -> Iterator[Office]:
    one = Office(sessions)
    yield one
    one.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def in_turn(*statuses: int, **headers: str) -> Callable[[Came], Said]:
    """Answers with one status after the other, and the last one ever after."""
    left = list(statuses)
    lock = threading.Lock()

    def answer(_: Came) -> Said:
        with lock:
            return Said(left.pop(0) if len(left) > 1 else left[0], b"so it is", headers)

    return answer


def move(sessions: Sessions, wanted: Move) -> lifecycle.Moved:
    with sessions.begin() as session:
        [moved] = lifecycle.move(session.connection(), [wanted])
    assert moved is not None
    return moved


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


# --- what comes -------------------------------------------------------------------------------------------------------


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
    assert 0.9 * HOUR_S <= (delivery.due_at - attempt.started_at).total_seconds() <= 1.1 * HOUR_S + _WAIT_S


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


# --- endpoints that are no more ---------------------------------------------------------------------------------------


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
        may_answer.wait(_WAIT_S)
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


# --- who is in whose way ----------------------------------------------------------------------------------------------


def test_a_receiver_that_hangs_holds_nobody_up(office: Office) -> None:
    """So much is owed to those that hang that it would take all places many times over."""
    with ExitStack() as stack:
        hung = [stack.enter_context(hanging()) for _ in range(7)]
        healthy = stack.enter_context(receiving())
        for one in hung:
            for _ in range(10):
                office.owe(one.url)
        office.open(*hung, healthy, parallel=8, parallel_per_host=4, timeout_s=_WAIT_S)
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
        may_answer.acquire(timeout=_WAIT_S)
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
        may_answer.wait(_WAIT_S)
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
    deliverer.stop(_WAIT_S)
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


# --- who asks, and who is asked ---------------------------------------------------------------------------------------


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Any) -> Settings:
    return Settings(
        database=DatabaseSettings(url=database_url),
        redis=RedisSettings(url=redis_url),
        storage=StorageSettings(dir=tmp_path),
        jobs=JobsSettings(expire_s=0.001),
    )


@pytest.fixture
def queue(settings: Settings) -> Iterator[JobQueue]:
    one = JobQueue(settings)
    yield one
    one.close()


@pytest.fixture
def waiting(redis_url: str) -> Iterator[Callable[[], int]]:
    """How many messages wait for a courier; none to begin with."""
    with redis.Redis.from_url(redis_url) as client:
        client.delete(UPKEEP_QUEUE)
        yield lambda: int(client.llen(UPKEEP_QUEUE))
        client.delete(UPKEEP_QUEUE)


def test_messages_to_couriers_do_not_pile_up(queue: JobQueue, waiting: Callable[[], int]) -> None:
    for _ in range(5):
        assert queue.ask_for_delivery()
    assert waiting() == 1


def test_a_worker_asks_for_delivery_when_something_is_owed_and_only_then(
    sessions: Sessions, settings: Settings
) -> None:
    asked: list[int] = []
    announcer = Announcer(settings.redis)
    ledger = Ledger(sessions.kw["bind"], announcer, lambda: asked.append(1), is_crowded=lambda: False)
    quiet, told = submit(sessions, None), submit(sessions, "https://example.com/", EventType.JOB_CANCELED)
    for job_id, expected in ((quiet, 0), (told, 1)):
        assert ledger.move(lifecycle.cancel(job_id, DEFAULT_TENANT)) is not None
        assert len(asked) == expected
    ledger.stop()
    announcer.close()


def test_the_sweep_asks_for_delivery_of_what_it_has_ended(
    sessions: Sessions, settings: Settings, queue: JobQueue, waiting: Callable[[], int]
) -> None:
    submit(sessions, "https://example.com/", EventType.JOB_FAILED)
    announcer = Announcer(settings.redis)
    sweep = jobs_sweep(sessions.kw["bind"], sessions, queue, announcer, settings.jobs)
    sweep()
    announcer.close()
    assert waiting() == 1
    with sessions() as session:
        assert session.scalars(select(Event.type)).all() == ["job.failed"]


def courier(settings: Settings, receiver: Receiver) -> subprocess.Popen[bytes]:
    """A courier as a process of its own."""
    rules = webhooks(receiver)
    env = {
        **os.environ,
        "VOXQUEUE_DATABASE_URL": settings.database.require_url(),
        "VOXQUEUE_REDIS_URL": settings.redis.require_url(),
        "VOXQUEUE_STORAGE_DIR": str(settings.storage.dir),
        "VOXQUEUE_WEBHOOKS_ALLOW_NETWORKS": ",".join(rules.allow_networks),
        "VOXQUEUE_WEBHOOKS_ALLOW_HTTP": "true",
        "VOXQUEUE_WEBHOOKS_PORTS": ",".join(map(str, rules.ports)),
    }
    return subprocess.Popen([sys.executable, "-m", "workers", "courier"], env=env)


def test_a_courier_killed_between_sending_and_writing_sends_again(
    office: Office, settings: Settings, waiting: Callable[[], int]
) -> None:
    """The receiver sees the event twice, by one id: that is what it is for."""
    may_answer = threading.Event()

    def answer(_: Came) -> Said:
        may_answer.wait(2 * _WAIT_S)
        return Said(204)

    with receiving(answer) as receiver:
        [delivery_id] = office.owe(receiver.url)
        first = courier(settings, receiver)
        try:
            receiver.wait()
        finally:
            first.kill()
            first.wait()
        may_answer.set()
        assert office.attempts(delivery_id) == []
        with office.sessions.begin() as session:  # the time that its lease lasts
            session.execute(update(Delivery).values(lease_until=text("now() - interval '1 s'")))
        second = courier(settings, receiver)
        try:
            delivery = office.settled(delivery_id)
        finally:
            second.send_signal(signal.SIGTERM)
            assert second.wait(_WAIT_S) in (0, -signal.SIGTERM)  # it may not have come to minding signals yet
    assert (delivery.state, delivery.attempts) == (DeliveryState.SUCCEEDED, 1)
    assert len(receiver.book) == 2
    assert len({came.id for came in receiver.book}) == 1
    assert len({came.body for came in receiver.book}) == 1


def test_a_delivery_says_to_which_trace_its_job_belongs_while_the_job_is_there(office: Office) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    wishes = Wishes(kind=Kind.REPLY, text="hi")
    with office.sessions.begin() as session:
        untraced = submission.submit(session, ANYBODY, wishes)
        with tracing.joined(parent, "submit", {}, kind=SpanKind.SERVER):
            traced = submission.submit(session, ANYBODY, wishes)
    with receiving() as receiver:
        for job_id in (traced.id, untraced.id, new_id()):
            office.owe(receiver.url, job_id=job_id)
        office.open(receiver)
        came = receiver.wait(3)
    assert sorted(one.headers.get("traceparent", "") for one in came) == ["", "", parent]
