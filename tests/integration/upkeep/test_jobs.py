"""Jobs that nobody works on: their worker went away, or they waited too long."""

import threading

import pytest
from sqlalchemy import text

from tests.integration.upkeep.house import WAIT_S, House
from tests.moves import claim, move
from voxqueue.errors import DatabaseUnavailable
from voxqueue.jobs import lifecycle
from voxqueue.jobs.states import JobState, RunState
from voxqueue.keys.caller import DEFAULT_TENANT
from voxqueue.settings import JobsSettings
from voxqueue.stages import Stage
from workers.upkeep.jobs import Expiry, LostLeases
from workers.upkeep.sweeper import Outages

pytestmark = pytest.mark.integration


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
            release.wait(WAIT_S)

    holder = threading.Thread(target=hold_the_table)
    holder.start()
    assert locked.wait(WAIT_S)
    outages = Outages(house.settings.lease_s)
    chore = threading.Thread(target=lost_leases(house, outages))
    chore.start()
    chore.join(timeout=0.3)  # longer than half a lease: what matters is that it waits all the while
    release.set()
    chore.join(WAIT_S)
    holder.join(WAIT_S)
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
