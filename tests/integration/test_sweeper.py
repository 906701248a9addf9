"""Upkeep, chore by chore, on a real Postgres and a real folder of blobs."""

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, insert, select, text

from tests.moves import claim, done, finish, move
from voxqueue import retention
from voxqueue.database.base import new_id
from voxqueue.database.session import Sessions, open_engine, open_sessions
from voxqueue.errors import DatabaseUnavailable, StorageUnavailable
from voxqueue.jobs import lifecycle, repository, submission
from voxqueue.jobs.blobs import note_key, speech_key
from voxqueue.jobs.changes import Announcer
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.models import DoomedBlob, IdempotencyKey, Job, Note
from voxqueue.jobs.states import JobState, RunState
from voxqueue.jobs.submission import Wishes
from voxqueue.keys.caller import ANYBODY, DEFAULT_TENANT
from voxqueue.keys.models import ApiKey
from voxqueue.queue import JobQueue
from voxqueue.settings import DatabaseSettings, JobsSettings, RedisSettings, Settings
from voxqueue.stages import Stage
from voxqueue.storage import DiskStore, Listed
from voxqueue.webhooks.models import Delivery, Event, SigningSecret, WebhookEndpoint
from workers.upkeep import blobs as blob_chores
from workers.upkeep import sweeper as sweeper_module
from workers.upkeep.blobs import DoomedBlobs, OrphanBlobs
from workers.upkeep.jobs import Expiry, LostLeases
from workers.upkeep.retention import retention_chores
from workers.upkeep.sweeper import Chore, Lock, Outages, Sweeper
from workers.upkeep.sweeps import cleaning_sweep, jobs_sweep

pytestmark = pytest.mark.integration

_WAIT_S = 20
_HOUR = 3600.0


class Ears(Announcer):
    """Hears what is announced instead of telling Redis."""

    def __init__(self) -> None:
        self.heard: list[tuple[UUID, JobState]] = []

    def announce(self, job_id: UUID, state: JobState) -> None:
        self.heard.append((job_id, state))


@dataclass
class House:
    """What upkeep works on."""

    sessions: Sessions
    engine: Engine
    store: DiskStore
    queue: JobQueue
    ears: Ears = field(default_factory=Ears)
    settings: JobsSettings = field(default_factory=lambda: JobsSettings(lease_s=0.1))

    def submit(self, kind: Kind = Kind.CHAT, **more: object) -> UUID:
        with self.sessions.begin() as session:
            wishes = replace(Wishes(kind=kind, text="hi"), **more)  # type: ignore[arg-type]
            return submission.submit(session, ANYBODY, wishes, self._note() if kind.takes_note else None).id

    def _note(self) -> Note:
        note_id = new_id()
        key = note_key(note_id, "ogg")
        self.put(key)
        about = {"media_type": "audio/ogg", "container": "ogg", "codec": "opus", "sample_rate": 16_000, "channels": 1}
        return Note(id=note_id, key=key, seconds=1.0, size=5, sha256="ab" * 32, **about)

    def put(self, key: str) -> str:
        self.store.put(key, io.BytesIO(b"sound"), media_type="audio/ogg")
        return key

    def stored(self) -> set[str]:
        return {listed.key for listed in self.store.list()}

    def job(self, job_id: UUID) -> Job:
        with self.sessions() as session:
            return repository.get(session, job_id, DEFAULT_TENANT)

    def ids(self) -> set[UUID]:
        with self.sessions() as session:
            return set(session.scalars(select(Job.id)))

    def count(self, *tables: str) -> list[int]:
        with self.sessions() as session:
            return [session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables]  # noqa: S608

    def let_pass(self, table: str, column: str, days: float, **which: object) -> None:
        """Make it that much longer ago."""
        only = "".join(f" AND {name} = :{name}" for name in which)
        with self.sessions.begin() as session:
            session.execute(
                text(f"UPDATE {table} SET {column} = {column} - make_interval(secs => :s) WHERE true{only}"),  # noqa: S608
                {"s": days * 86_400, **which},
            )

    def lose_lease(self, job_id: UUID) -> None:
        """Take the job, and the lease is over."""
        claim(self.sessions, str(job_id))
        self.let_pass("jobs", "lease_until", 1, id=job_id)

    def speak(self, job_id: UUID) -> str:
        """Finish a job of kind speech; returns the key of its speech, which is stored."""
        attempt = claim(self.sessions, str(job_id))
        key = self.put(speech_key(job_id, attempt, "ogg"))
        move(self.sessions, lifecycle.succeed(job_id, attempt, done(Stage.TTS, {"key": key})))
        return key

    def orphans(self, store: DiskStore | None = None, orphan_s: float = _HOUR) -> OrphanBlobs:
        return OrphanBlobs(self.engine, store or self.store, orphan_s)


@pytest.fixture
def house(sessions: Sessions, database_url: str, redis_url: str, blobs: Path) -> Iterator[House]:
    queue = JobQueue(Settings(redis=RedisSettings(url=redis_url)))
    yield House(sessions, sessions.kw["bind"], DiskStore(blobs), queue)
    queue.close()


# --- how chores are done ----------------------------------------------------------------------------------------------


def test_a_chore_that_fails_does_not_keep_the_others_from_being_done(house: House) -> None:
    did = []

    def fail(error: Exception) -> Chore:
        def chore() -> None:
            did.append(type(error).__name__)
            raise error

        return chore

    chores = {
        "a": fail(StorageUnavailable("away")),
        "b": fail(DatabaseUnavailable("it took too long")),
        "c": fail(KeyError("a bug")),
        "d": lambda: did.append("done"),
    }
    Sweeper(house.engine, Lock.CLEANING, chores, Outages(1))()
    assert did == ["StorageUnavailable", "DatabaseUnavailable", "KeyError", "done"]


def test_one_worker_sweeps_at_a_time_and_the_two_sweeps_do_not_wait_for_one_another(house: House) -> None:
    did = []
    inner = {lock: Sweeper(house.engine, lock, {"in": lambda: did.append("inner")}, Outages(1)) for lock in Lock}

    def outer() -> None:
        did.append("outer")
        inner[Lock.JOBS]()
        inner[Lock.CLEANING]()

    Sweeper(house.engine, Lock.CLEANING, {"out": outer}, Outages(1))()
    assert did == ["outer", "inner"], "the jobs were seen to, nobody else cleaned"
    inner[Lock.CLEANING]()
    assert did == ["outer", "inner", "inner"], "afterwards it is anybody's turn"


def test_a_worker_that_froze_while_it_swept_does_not_keep_the_fleet_from_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper_module, "_LONGEST_IDLE_S", 0.2)
    other_swept = threading.Event()
    other = Sweeper(house.engine, Lock.JOBS, {"other": other_swept.set}, Outages(1))

    def freeze() -> None:
        while not other_swept.wait(0.05):
            other()

    sweep = Sweeper(house.engine, Lock.JOBS, {"freeze": freeze}, Outages(1))
    thread = threading.Thread(target=sweep)
    thread.start()
    thread.join(_WAIT_S)
    assert not thread.is_alive()
    assert other_swept.is_set()


# --- jobs that nobody works on ----------------------------------------------------------------------------------------


def lost_leases(house: House, outages: Outages | None = None) -> LostLeases:
    return LostLeases(house.sessions, house.queue, house.ears, house.settings, outages or Outages(60))


def test_a_job_whose_worker_went_away_is_queued_again(house: House) -> None:
    lost, held = house.submit(), house.submit()
    house.lose_lease(lost)
    claim(house.sessions, str(held))
    lost_leases(house)()
    assert (house.job(lost).state, house.job(lost).lost_leases) == (JobState.QUEUED, 1)
    assert house.job(held).state is JobState.RUNNING
    assert house.ears.heard == [(lost, JobState.QUEUED)]


def test_a_job_that_takes_its_worker_down_each_time_is_failed_as_poison(house: House) -> None:
    job_id = house.submit()
    for times in range(1, 4):
        house.lose_lease(job_id)
        if times > 1:
            begins = lifecycle.begin(job_id, times, Stage.LLM, lease_s=60)
            move(house.sessions, begins)
            house.let_pass("jobs", "lease_until", 1)
        lost_leases(house)()
        assert house.job(job_id).lost_leases == times
    job = house.job(job_id)
    assert (job.state, job.error and job.error["type"]) == (JobState.FAILED, "urn:voxqueue:problem:workers-lost")


def test_a_job_that_only_waited_for_its_turn_is_no_poison_however_often_its_workers_die(house: House) -> None:
    job_id = house.submit()
    for _ in range(6):
        house.lose_lease(job_id)
        lost_leases(house)()
    job = house.job(job_id)
    assert (job.state, job.attempt, job.lost_leases) == (JobState.QUEUED, 6, 1)
    assert job.runs[0].started_at is None


def test_after_an_outage_of_the_database_no_lease_counts_as_lost_until_workers_could_renew_them(house: House) -> None:
    job_id = house.submit()
    house.lose_lease(job_id)
    outages = Outages(60)
    with pytest.raises(DatabaseUnavailable), outages.watch():
        raise DatabaseUnavailable("away")
    lost_leases(house, outages)()
    assert house.job(job_id).state is JobState.RUNNING


def test_a_database_that_froze_while_it_was_asked_has_had_an_outage(house: House) -> None:
    job_id = house.submit()
    house.lose_lease(job_id)
    house.settings = JobsSettings(lease_s=0.4)
    locked, release = threading.Event(), threading.Event()

    def hold_the_table() -> None:
        with house.sessions.begin() as session:
            session.execute(text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
            locked.set()
            release.wait(_WAIT_S)

    holder = threading.Thread(target=hold_the_table)
    holder.start()
    assert locked.wait(_WAIT_S)
    outages = Outages(house.settings.lease_s)
    chore = threading.Thread(target=lost_leases(house, outages))
    chore.start()
    chore.join(timeout=0.3)  # longer than half a lease: what matters is that it waits all the while
    release.set()
    chore.join(_WAIT_S)
    holder.join(_WAIT_S)
    assert house.job(job_id).state is JobState.RUNNING


def test_a_job_that_nobody_begins_with_expires_and_says_so(house: House) -> None:
    old, young, running = (house.submit(webhook_url="http://hook/", webhook_events=["job.failed"]) for _ in range(3))
    house.let_pass("jobs", "due_at", 2, id=old)
    house.let_pass("jobs", "due_at", 2, id=running)
    claim(house.sessions, str(running))
    chore = Expiry(house.sessions, house.queue, house.ears, house.settings)
    chore()
    job = house.job(old)
    assert (job.state, job.error and job.error["type"]) == (JobState.FAILED, "urn:voxqueue:problem:job-expired")
    assert job.error
    assert job.error["stage"] == "llm"
    assert [run.state for run in job.runs] == [RunState.FAILED, RunState.CANCELED]
    assert (house.job(young).state, house.job(running).state) == (JobState.QUEUED, JobState.RUNNING)
    assert house.ears.heard == [(old, JobState.FAILED)]
    assert house.count("events", "deliveries") == [1, 1]


def test_who_has_an_expired_job_tried_again_gets_the_whole_time_anew(house: House) -> None:
    job_id = house.submit()
    house.let_pass("jobs", "due_at", 2)
    house.let_pass("jobs", "created_at", 2)
    chore = Expiry(house.sessions, house.queue, house.ears, house.settings)
    chore()
    move(house.sessions, lifecycle.retry(job_id, DEFAULT_TENANT))
    chore()
    assert house.job(job_id).state is JobState.QUEUED


# --- retention --------------------------------------------------------------------------------------------------------


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


# --- orphans ----------------------------------------------------------------------------------------------------------


class OtherClock(DiskStore):
    """A store whose clock is off by so many seconds, and says so of whatever it holds. Blobs can be made to age."""

    def __init__(self, root: Path, off_s: float) -> None:
        super().__init__(root)
        self.off_s = off_s
        self.ages: dict[str, float] = {}

    def list(self, prefix: str = "") -> Iterator[Listed]:
        for one in super().list(prefix):
            age = timedelta(seconds=self.off_s - self.ages.get(one.key, 0))
            yield replace(one, modified=one.modified + age)


@pytest.fixture
def orphans_of() -> Iterator[Callable[[House, DiskStore], OrphanBlobs]]:
    """Makes the chore; it leaves when the test ends, or its connection would hold the lock for ever."""
    made: list[OrphanBlobs] = []

    def make(house: House, store: DiskStore, orphan_s: float = _HOUR) -> OrphanBlobs:
        made.append(house.orphans(store, orphan_s))
        return made[-1]

    yield make
    for one in made:
        one.leave()


OrphansOf = Callable[[House, DiskStore], OrphanBlobs]


@pytest.mark.parametrize("off_s", [0, -7 * _HOUR, 7 * _HOUR])
def test_old_blobs_that_no_row_speaks_of_are_removed_whatever_the_stores_clock_says(
    house: House, blobs: Path, orphans_of: OrphansOf, off_s: float
) -> None:
    """With a clock that is behind, a blob whose job is being committed would look old, and the job would lose it."""
    store = house.store = OtherClock(blobs, off_s)
    transcribed, spoken = house.submit(Kind.TRANSCRIPTION), house.submit(Kind.SPEECH)
    note = house.job(transcribed).note
    assert note
    running = house.submit(Kind.SPEECH)
    attempt = claim(house.sessions, str(running))
    doomed = house.put(note_key(new_id(), "wav"))
    with house.sessions.begin() as session:
        repository.doom(session, [doomed])
    needed = {note.key, house.speak(spoken), doomed, house.put(speech_key(running, attempt, "ogg"))}
    fresh = {house.put(note_key(new_id(), "ogg")), house.put(speech_key(new_id(), 1, "ogg"))}
    foreign = {house.put("notes/a.ogg"), house.put("speech/b-1.ogg"), house.put("backups/db.dump")}
    lost = {house.put(note_key(new_id(), "ogg")), house.put(speech_key(running, attempt + 1, "ogg"))}
    lost.add(house.put(speech_key(spoken, 7, "ogg")))
    store.ages = dict.fromkeys(needed | foreign | lost, 2 * _HOUR) | dict.fromkeys(fresh, 0.9 * _HOUR)
    orphans_of(house, store)()
    assert house.stored() == needed | fresh | foreign


def test_what_killed_puts_have_left_is_removed_when_it_is_old(house: House, blobs: Path, orphans_of: OrphansOf) -> None:
    kept = house.put(note_key(new_id(), "ogg"))
    old, young = (blobs / "notes" / f".{new_id().hex}.part" for _ in range(2))
    for path, age_s in ((old, 2 * _HOUR), (young, 0.5 * _HOUR)):
        path.write_bytes(b"half a recording")
        os.utime(path, (time.time() - age_s,) * 2)
    orphans_of(house, DiskStore(blobs))()
    assert not old.exists()
    assert young.exists(), "its put may still be under way"
    assert house.stored() == {kept}


def test_a_walk_goes_on_where_the_sweep_before_has_ended_and_the_next_one_comes_later(
    house: House, blobs: Path, orphans_of: OrphansOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_chores, "_LIMIT", 4)
    store = house.store = OtherClock(blobs, 0)
    keys = {house.put(note_key(new_id(), "ogg")) for _ in range(10)}
    store.ages = dict.fromkeys(keys, 2 * _HOUR)
    chore = orphans_of(house, store)
    left = []
    for _ in range(3):
        chore()
        left.append(len(house.stored()))
    assert left == [6, 2, 0]
    key = house.put(note_key(new_id(), "ogg"))
    store.ages[key] = 2 * _HOUR
    chore()
    assert house.stored() == {key}, "the store is not walked over again within the hour"


def test_one_worker_of_the_fleet_walks_until_it_leaves(house: House, blobs: Path, orphans_of: OrphansOf) -> None:
    store = house.store = OtherClock(blobs, 0)
    first, second = orphans_of(house, store), orphans_of(house, store)
    first()
    key = house.put(note_key(new_id(), "ogg"))
    store.ages[key] = 2 * _HOUR
    second()
    assert house.stored() == {key}
    first.leave()
    second()
    assert house.stored() == set()


def test_a_worker_that_lost_its_connection_walks_no_more_and_recovers(
    house: House, blobs: Path, orphans_of: OrphansOf
) -> None:
    store = house.store = OtherClock(blobs, 0)
    chore = orphans_of(house, store)
    chore()
    with house.sessions() as session:
        session.execute(text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"))
    sweep = Sweeper(house.engine, Lock.CLEANING, {"orphans": chore}, Outages(1))
    key = house.put(note_key(new_id(), "ogg"))
    store.ages[key] = 2 * _HOUR
    chore._next_walk_at = 0
    sweep()
    assert house.stored() == {key}
    chore._next_walk_at = 0
    sweep()
    assert house.stored() == set()


def test_a_store_that_the_database_does_not_know_is_left_alone(
    house: House, blobs: Path, orphans_of: OrphansOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings that name a wrong database must not cost every recording there is."""
    monkeypatch.setattr(blob_chores, "_ENOUGH", 5)
    store = house.store = OtherClock(blobs, 0)
    keys = {house.put(note_key(new_id(), "ogg")) for _ in range(5)}
    store.ages = dict.fromkeys(keys, 2 * _HOUR)
    orphans_of(house, store)()
    assert house.stored() == keys


def test_orphans_outlast_a_store_that_is_away_but_not_for_long(
    house: House, blobs: Path, orphans_of: Callable[..., OrphanBlobs]
) -> None:
    store = house.store = OtherClock(blobs, 0)
    key = house.put(note_key(new_id(), "ogg"))
    store.ages[key] = _HOUR
    chore = orphans_of(house, store, 1e-6)
    away = blobs.rename(blobs.with_name("unmounted"))
    with pytest.raises(StorageUnavailable):
        chore()
    away.rename(blobs)
    assert house.stored() == {key}
    chore()
    assert house.stored() == set()


# --- all of it --------------------------------------------------------------------------------------------------------


def test_both_sweeps_do_all_their_chores(house: House, blobs: Path) -> None:
    """The chores are put together, and none of them breaks on a house where nothing is to be done, or much."""
    lost, old = house.submit(), house.submit(Kind.SPEECH)
    house.lose_lease(lost)
    house.speak(old)
    house.let_pass("jobs", "finished_at", 31, id=old)
    with house.sessions.begin() as session:
        session.add(DoomedBlob(key=house.put("notes/gone.ogg")))
    engine = open_engine(DatabaseSettings(url=house.engine.url.render_as_string(hide_password=False)))
    try:
        sessions = open_sessions(engine)
        # A question that takes half a lease counts as an outage, and a new connection may take its time.
        patient = house.settings.model_copy(update={"lease_s": 1})
        jobs_sweep(engine, sessions, house.queue, house.ears, patient)()
        clean = cleaning_sweep(engine, sessions, house.store, house.settings)
        clean()
        assert house.job(lost).state is JobState.QUEUED
        assert house.ids() == {lost}
        assert house.stored() == set()
        chores = clean._chores["removal of orphan blobs"]
        assert isinstance(chores, OrphanBlobs)
        chores.leave()
    finally:
        engine.dispose()
