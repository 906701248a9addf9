"""Couriers as they are asked for deliveries, by messages, and as processes that can be killed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from opentelemetry.trace import SpanKind
from sqlalchemy import select, text, update

from tests.integration.delivery.office import Office, submit, webhooks
from tests.receiver import WAIT_S, Came, Receiver, receiving
from tests.wire import Said
from voxqueue import tracing
from voxqueue.database.base import new_id
from voxqueue.database.session import Sessions
from voxqueue.jobs import lifecycle, submission
from voxqueue.jobs.changes import Announcer
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.submission import Wishes
from voxqueue.keys.caller import ANYBODY, DEFAULT_TENANT
from voxqueue.queue import UPKEEP_QUEUE, JobQueue
from voxqueue.settings import DatabaseSettings, JobsSettings, RedisSettings, Settings, StorageSettings
from voxqueue.webhooks.events import DeliveryState, EventType
from voxqueue.webhooks.models import Delivery, Event
from workers.ledger import Ledger
from workers.upkeep.sweeps import jobs_sweep

pytestmark = pytest.mark.integration


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
        may_answer.wait(2 * WAIT_S)
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
            assert second.wait(WAIT_S) in (0, -signal.SIGTERM)  # it may not have come to minding signals yet
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
