"""A job that takes its worker down whenever it is run, and those who happen to be there. A real worker, which dies."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.acceptance.conftest import start
from tests.patience import until
from voxqueue.client import Client, Job
from voxqueue.embedded import Stack
from voxqueue.jobs.kinds import Kind
from voxqueue.urls import for_psql

pytestmark = pytest.mark.acceptance

_WAIT_S = 150
_ENV = {
    "VOXQUEUE_ENGINES": "fake",
    "VOXQUEUE_FAKE_FIXED_MS": "30",
    "VOXQUEUE_JOBS_LEASE_S": "3",
    "VOXQUEUE_JOBS_SWEEP_S": "1",
    "VOXQUEUE_JOBS_HINT_STALE_S": "3",
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with start(_ENV) as stack:
        yield stack


def lost_leases(stack: Stack, jobs: list[Job]) -> list[int]:
    """How many workers each job has lost, in the order of the jobs."""
    address = for_psql(stack.env["VOXQUEUE_DATABASE_URL"])
    with psycopg.connect(address) as connection:
        found: dict[str, int] = dict(connection.execute("SELECT id::text, lost_leases FROM jobs").fetchall())
    return [found[job.id] for job in jobs]


def send_poison_among_ten(client: Client) -> tuple[Job, list[Job]]:
    """Eleven jobs in one worker, none of which has begun before all of them are there."""
    plug = client.send_text("!hang:6@llm", kind=Kind.REPLY)
    until(lambda: client.job(plug.id).state == "running", 60)
    texts = [f"innocent number {number}" for number in range(10)]
    texts.insert(5, "!die@llm")
    with ThreadPoolExecutor(len(texts)) as threads:
        jobs = list(threads.map(lambda text: client.send_text(text, kind=Kind.CHAT), texts))
    return jobs.pop(5), jobs


def test_a_text_that_kills_its_worker_is_given_up_and_its_neighbours_are_not(stack: Stack, client: Client) -> None:
    poison, neighbours = send_poison_among_ten(client)
    ended = client.wait(poison, timeout=_WAIT_S)
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error.type == "urn:voxqueue:problem:workers-lost"
    assert {client.wait(job, timeout=_WAIT_S).state for job in neighbours} == {"succeeded"}
    assert lost_leases(stack, [poison]) == [3]
    assert lost_leases(stack, neighbours) == [1] * 10, "they shared the first batch; after that, only who begins counts"
