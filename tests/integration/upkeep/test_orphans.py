"""Blobs that no row speaks of are removed, and no others."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.integration.upkeep.house import HOUR_S, House
from tests.moves import claim
from voxqueue.database.base import new_id
from voxqueue.errors import StorageUnavailable
from voxqueue.jobs import repository
from voxqueue.jobs.blobs import note_key, speech_key
from voxqueue.jobs.kinds import Kind
from voxqueue.storage import DiskStore, Listed
from workers.upkeep import blobs as blob_chores
from workers.upkeep.blobs import OrphanBlobs
from workers.upkeep.sweeper import Lock, Outages, Sweeper

pytestmark = pytest.mark.integration


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

    def make(house: House, store: DiskStore, orphan_s: float = HOUR_S) -> OrphanBlobs:
        made.append(house.orphans(store, orphan_s))
        return made[-1]

    yield make
    for one in made:
        one.leave()


OrphansOf = Callable[[House, DiskStore], OrphanBlobs]


@pytest.mark.parametrize("off_s", [0, -7 * HOUR_S, 7 * HOUR_S])
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
    store.ages = dict.fromkeys(needed | foreign | lost, 2 * HOUR_S) | dict.fromkeys(fresh, 0.9 * HOUR_S)
    orphans_of(house, store)()
    assert house.stored() == needed | fresh | foreign


def test_what_killed_puts_have_left_is_removed_when_it_is_old(house: House, blobs: Path, orphans_of: OrphansOf) -> None:
    kept = house.put(note_key(new_id(), "ogg"))
    old, young = (blobs / "notes" / f".{new_id().hex}.part" for _ in range(2))
    for path, age_s in ((old, 2 * HOUR_S), (young, 0.5 * HOUR_S)):
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
    store.ages = dict.fromkeys(keys, 2 * HOUR_S)
    chore = orphans_of(house, store)
    left = []
    for _ in range(3):
        chore()
        left.append(len(house.stored()))
    assert left == [6, 2, 0]
    key = house.put(note_key(new_id(), "ogg"))
    store.ages[key] = 2 * HOUR_S
    chore()
    assert house.stored() == {key}, "the store is not walked over again within the hour"


def test_one_worker_of_the_fleet_walks_until_it_leaves(house: House, blobs: Path, orphans_of: OrphansOf) -> None:
    store = house.store = OtherClock(blobs, 0)
    first, second = orphans_of(house, store), orphans_of(house, store)
    first()
    key = house.put(note_key(new_id(), "ogg"))
    store.ages[key] = 2 * HOUR_S
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
    store.ages[key] = 2 * HOUR_S
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
    store.ages = dict.fromkeys(keys, 2 * HOUR_S)
    orphans_of(house, store)()
    assert house.stored() == keys


def test_orphans_outlast_a_store_that_is_away_but_not_for_long(
    house: House, blobs: Path, orphans_of: Callable[..., OrphanBlobs]
) -> None:
    store = house.store = OtherClock(blobs, 0)
    key = house.put(note_key(new_id(), "ogg"))
    store.ages[key] = HOUR_S
    chore = orphans_of(house, store, 1e-6)
    away = blobs.rename(blobs.with_name("unmounted"))
    with pytest.raises(StorageUnavailable):
        chore()
    away.rename(blobs)
    assert house.stored() == {key}
    chore()
    assert house.stored() == set()
