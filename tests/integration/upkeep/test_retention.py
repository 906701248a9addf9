"""What is old is removed, with all that belongs to it."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text

from tests.integration.upkeep.house import House
from tests.moves import finish
from voxqueue import retention
from voxqueue.jobs import repository
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.models import IdempotencyKey
from voxqueue.keys.caller import DEFAULT_TENANT
from voxqueue.keys.models import ApiKey
from voxqueue.storage import BlobsKept, DiskStore
from voxqueue.webhooks.models import Delivery, Event, SigningSecret, WebhookEndpoint
from workers.upkeep.blobs import DoomedBlobs
from workers.upkeep.retention import retention_chores

pytestmark = pytest.mark.integration


def remove_old(house: House, name: str, keep_days: float = 30) -> None:
    retention_chores(house.sessions, keep_days)[f"removal of old {name}"]()


def test_a_job_that_finished_long_ago_is_removed_with_all_that_belongs_to_it(house: House) -> None:
    old, young, unfinished = (house.submit(Kind.TRANSCRIPTION) for _ in range(3))
    for one in (old, young):
        finish(house.sessions, str(one), Kind.TRANSCRIPTION)
    speech = house.submit(Kind.SPEECH)
    key = house.speak(speech)
    for one in (old, speech):
        house.let_pass("jobs", "finished_at", 31, id=one)
    house.let_pass("jobs", "created_at", 40)
    kept = {job.note.key for one in (young, unfinished) if (job := house.job(one)).note}
    remove_old(house, "finished jobs")
    assert house.ids() == {young, unfinished}
    assert house.count("notes", "stage_runs", "doomed_blobs") == [2, 2, 2]
    DoomedBlobs(house.sessions, house.store)()
    assert house.stored() == kept
    assert key not in kept
    assert house.count("doomed_blobs") == [0]


def test_a_blob_that_the_store_keeps_holds_up_no_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """One under a legal hold, say: else the oldest thousand would be asked for again and again, and nothing after."""
    monkeypatch.setattr("workers.upkeep.blobs._LIMIT", 2)
    held, *others = [house.put(f"notes/{number}.wav") for number in range(4)]
    with house.sessions.begin() as session:
        repository.doom(session, [held])
    with house.sessions.begin() as session:
        repository.doom(session, others)
    store = Holding(house.store.root, held)
    for _ in range(2):
        DoomedBlobs(house.sessions, store)()
    assert house.stored() == {held}
    assert house.count("doomed_blobs") == [1], "and it is tried again"


class Holding(DiskStore):
    """Keeps one blob whatever is asked."""

    def __init__(self, root: Path, held: str) -> None:
        super().__init__(root)
        self._held = held

    def delete(self, keys: Iterable[str]) -> None:
        wanted = set(keys)
        super().delete(wanted - {self._held})
        if self._held in wanted:
            raise BlobsKept("It is held.", {self._held})


def test_removal_takes_the_oldest_first_and_waits_for_nobody(house: House) -> None:
    jobs = [house.submit(Kind.REPLY) for _ in range(4)]
    for age, one in enumerate(jobs):
        finish(house.sessions, str(one), Kind.REPLY)
        house.let_pass("jobs", "finished_at", 40 + age, id=one)
    with house.sessions() as session:
        session.execute(text("SET LOCAL lock_timeout = '5s'"))
        repository.get(session, jobs[3], DEFAULT_TENANT, lock=True)
        with house.sessions.begin() as removing:
            assert retention.remove_jobs(removing, 30, 2) == 2
    assert house.ids() == {jobs[0], jobs[3]}, "the oldest is being worked with, so the next two went"


def test_events_go_with_their_deliveries_once_nothing_of_them_is_owed(house: House) -> None:
    states = {"old": "succeeded", "owed": "pending", "sent_again": "succeeded", "young": "failed"}
    with house.sessions.begin() as session:
        for name, state in states.items():
            event = Event(tenant=DEFAULT_TENANT, type=name, data={})
            ended = None if state == "pending" else func.now()
            session.add_all([event, Delivery(event=event, url="http://hook/", state=state, finished_at=ended)])
        session.add(Event(tenant=DEFAULT_TENANT, type="for nobody", data={}))
        session.execute(text("UPDATE events SET created_at = now() - interval '31 days' WHERE type <> 'young'"))
    house.let_pass("deliveries", "finished_at", 31)
    with house.sessions.begin() as session:
        again = session.scalars(select(Event).where(Event.type == "sent_again")).one()
        session.add(Delivery(event=again, url="http://hook/", state="failed", finished_at=func.now()))
    remove_old(house, "events")
    with house.sessions() as session:
        assert set(session.scalars(select(Event.type))) == {"owed", "sent_again", "young"}
    assert house.count("deliveries") == [4]


def test_secrets_and_keys_are_removed_when_nobody_can_need_them(house: House) -> None:
    with house.sessions.begin() as session:
        now, day = func.now(), timedelta(days=1)
        endpoint = WebhookEndpoint(tenant="t", url="http://hook/", events=[])
        session.add(endpoint)
        session.flush()
        for name, expires_at in (("over", now - day), ("soon", now + day), ("now", None)):
            session.add(SigningSecret(tenant="t", endpoint_id=endpoint.id, secret=name, expires_at=expires_at))
        ends = {"expired": (now - 31 * day, None), "revoked": (now + day, now - 31 * day), "valid": (None, None)}
        ends |= {"late": (now - 29 * day, None), "revoked late": (None, now - 29 * day)}
        for name, (expires_at, revoked_at) in ends.items():
            key = ApiKey(id=name, tenant="t", name=name, secret_hash="", scopes=[])
            key.expires_at, key.revoked_at = expires_at, revoked_at
            session.add(key)
    remove_old(house, "signing secrets")
    remove_old(house, "API keys")
    with house.sessions() as session:
        assert set(session.scalars(select(SigningSecret.secret))) == {"soon", "now"}
        assert set(session.scalars(select(ApiKey.id))) == {"valid", "late", "revoked late"}


def test_idempotency_keys_are_forgotten_after_a_day(house: House) -> None:
    with house.sessions.begin() as session:
        for name, age in (("old", "25 hours"), ("young", "23 hours")):
            ago = text(f"now() - interval '{age}'")
            row = {"tenant": "t", "key": name, "fingerprint": "f", "reserved_until": ago, "created_at": ago}
            session.execute(insert(IdempotencyKey).values(row))
    remove_old(house, "idempotency keys")
    with house.sessions() as session:
        assert list(session.scalars(select(IdempotencyKey.key))) == ["young"]
