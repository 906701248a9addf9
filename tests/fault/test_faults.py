"""The short form of `make fault`: the most telling faults, each injected once into a running stack.

A fault that breaks an invariant fails its test with what the checker found and the end of the stack's log.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fault import api_faults, server_faults, worker_faults  # noqa: F401 - they enter their faults
from tests.fault.book import Promise
from tests.fault.catalogue import FAULTS, Fault
from tests.fault.checker import check
from tests.fault.running import Outcome, inject
from tests.fault.servers import CLUSTER, MACHINE, Layout
from tests.fault.world import World, until, world
from voxqueue.jobs.kinds import Kind

pytestmark = pytest.mark.fault


def telling(layout: Layout) -> list[object]:
    return [pytest.param(one, id=one.name) for one in FAULTS if one.telling and one.layout == layout]


@pytest.fixture(scope="module")
def cluster() -> Iterator[World]:
    with world(CLUSTER) as stack:
        yield stack


@pytest.fixture(scope="module")
def machine() -> Iterator[World]:
    if os.geteuid() != 0:
        pytest.skip("a disk that can be filled is mounted by root only")
    with world(MACHINE) as stack:
        yield stack


@pytest.mark.parametrize("fault", telling(CLUSTER))
def test_nothing_is_lost_or_done_twice_in_a_cluster(cluster: World, fault: Fault) -> None:
    inject(cluster, fault, Outcome())


@pytest.mark.parametrize("fault", telling(MACHINE))
def test_nothing_is_lost_or_done_twice_on_one_machine(machine: World, fault: Fault) -> None:
    inject(machine, fault, Outcome())


def test_the_checker_finds_what_is_planted(cluster: World) -> None:
    """One that finds nothing proves nothing."""
    job_id = cluster.book.send(Kind.SPEECH)
    assert job_id
    until(lambda: check(cluster) == [], "nothing to be found")
    [speech] = [one.key for one in cluster.blobs.list(f"speech/{job_id}")]
    stray = f"speech/{job_id}-77.ogg"
    with planted(cluster, job_id, speech, stray):
        words = "\n".join(check(cluster))
    for finding in (
        "lost: chat none was promised and is not there",
        f"lost: blob {speech} is gone",
        f"orphan: blob {stray} has no row",
        f"duplicated: job {job_id} ended 2 times",
        f"duplicated: the result of tts of job {job_id} was written 2 times",
        f"duplicated: job.started of job {job_id} is 2 events",
    ):
        assert finding in words
    assert check(cluster) == []


@contextmanager
def planted(world: World, job_id: str, speech: str, stray: str) -> Iterator[None]:
    """What must never be, until the block ends."""
    content = world.blobs.get(speech)
    world.blobs.put(stray, io.BytesIO(b"?"), media_type="audio/ogg")
    world.blobs.delete([speech])
    world.book.promises["none"] = Promise("none", Kind.CHAT, "succeeded")
    with world.points.connect() as database:
        for change in (
            "INSERT INTO fault.history (job_id, before, after, attempt) VALUES (%s, 'running', 'succeeded', -1)",
            "INSERT INTO fault.history (job_id, stage, before, after, attempt) VALUES (%s, 'tts', 'x', 'x', -1)",
            "INSERT INTO events (tenant, job_id, type, data) VALUES ('planted', %s, 'job.started', '{}')",
        ):
            database.execute(change.encode(), (job_id,))
        try:
            yield
        finally:
            database.execute("DELETE FROM fault.history WHERE attempt = -1")
            database.execute("DELETE FROM events WHERE tenant = 'planted'")
            world.blobs.put(speech, io.BytesIO(content), media_type="audio/ogg")
            world.blobs.delete([stray])
            del world.book.promises["none"]
