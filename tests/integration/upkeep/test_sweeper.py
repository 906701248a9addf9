"""How chores are done: by one worker at a time, each by itself, and all of them in the two sweeps."""

import threading
from pathlib import Path

import pytest

from tests.integration.upkeep.house import WAIT_S, House
from voxqueue.database.session import open_engine, open_sessions
from voxqueue.errors import DatabaseUnavailable, StorageUnavailable
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.models import DoomedBlob
from voxqueue.jobs.states import JobState
from voxqueue.settings import DatabaseSettings
from workers.upkeep import sweeper as sweeper_module
from workers.upkeep.blobs import OrphanBlobs
from workers.upkeep.sweeper import Chore, Lock, Outages, Sweeper
from workers.upkeep.sweeps import cleaning_sweep, jobs_sweep

pytestmark = pytest.mark.integration


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
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert other_swept.is_set()


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
