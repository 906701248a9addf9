"""A worker that must leave hands its jobs back, and of one that dies, those who only waited are not to blame."""

import threading
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.gated_worker import Hire, held_row
from tests.patience import until
from voxqueue.database.session import Sessions
from voxqueue.jobs import repository, submission
from voxqueue.jobs.kinds import Kind, Priority
from voxqueue.jobs.models import Job
from voxqueue.jobs.states import JobState
from voxqueue.jobs.submission import Wishes
from voxqueue.keys.caller import ANYBODY, DEFAULT_TENANT
from voxqueue.stages import Stage
from workers import runner

pytestmark = pytest.mark.integration

_WAIT_S = 20


def submit(sessions: Sessions, words: str = "hello") -> UUID:
    with sessions.begin() as session:
        return submission.submit(session, ANYBODY, Wishes(kind=Kind.REPLY, text=words)).id


def load(sessions: Sessions, job_id: UUID) -> Job:
    with sessions() as session:
        return repository.get(session, job_id, DEFAULT_TENANT)


def test_a_claim_that_is_granted_while_the_worker_leaves_is_handed_back_too(sessions: Sessions, hire: Hire) -> None:
    """Else the process ends with a lease that nobody knows of, and the job waits until it runs out."""
    worker, job_id = hire(Stage.LLM), submit(sessions)
    with held_row(sessions, job_id) as (_, until_blocked):
        worker.begin(job_id)
        until_blocked()
        worker.runner.stop()
        leaving = threading.Thread(target=worker.runner.put_back_all)
        leaving.start()
    leaving.join(_WAIT_S)
    worker.end()
    job = load(sessions, job_id)
    assert (job.state, job.attempt, job.lost_leases) == (JobState.QUEUED, 1, 0)


def test_jobs_that_have_lost_a_worker_begin_one_after_the_other(sessions: Sessions, hire: Hire) -> None:
    worker, suspects = hire(Stage.LLM), [submit(sessions, f"number {number}") for number in range(3)]
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET lost_leases = 1"))
    innocent = submit(sessions, "innocent")

    def begun() -> list[UUID]:
        return [job_id for job_id in (*suspects, innocent) if load(sessions, job_id).runs[0].started_at]

    with worker.gates[Stage.LLM].closed() as until_reached:
        for job_id in suspects:
            worker.begin(job_id)
        until_reached()
        until(lambda: all(load(sessions, job_id).state is JobState.RUNNING for job_id in suspects))
        [first] = begun()
        worker.begin(innocent)
        until(lambda: len(begun()) == 2)
        assert set(begun()) == {first, innocent}, "who is above suspicion waits for nobody"
    worker.end()
    assert {load(sessions, job_id).state for job_id in (*suspects, innocent)} == {JobState.SUCCEEDED}


def test_the_more_suspect_a_job_is_the_later_it_begins(sessions: Sessions, hire: Hire) -> None:
    """One that hangs at each try would else be the first again in the next worker, and take that down as well."""
    worker, [twice, once, never] = hire(Stage.LLM), [submit(sessions, words) for words in ("twice", "once", "never")]
    with sessions.begin() as session:
        session.execute(text("UPDATE stage_runs SET failures = 1 WHERE job_id = :id"), {"id": once})
        session.execute(text("UPDATE stage_runs SET failures = 2 WHERE job_id = :id"), {"id": twice})
    gate = worker.gates[Stage.LLM]
    with gate.closed() as until_reached:
        worker.begin(never)
        until_reached()
        for job_id in (twice, once):
            worker.begin(job_id)
        until(lambda: len(worker.runner.held()) == 3)
    worker.end()
    assert gate.texts == ["never", "once", "twice"]


def test_a_suspect_does_not_wait_for_ever(sessions: Sessions, hire: Hire, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are always others in a worker that is busy."""
    monkeypatch.setitem(runner._PATIENCE_S, Priority.LOW, 0)
    worker, suspect, other = hire(Stage.LLM), submit(sessions), submit(sessions)
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET lost_leases = 1 WHERE id = :id"), {"id": suspect})
    with worker.gates[Stage.LLM].closed() as until_reached:
        worker.begin(other)
        until_reached()
        worker.begin(suspect)
        until(lambda: load(sessions, suspect).runs[0].started_at)
    worker.end()
    assert {load(sessions, job_id).state for job_id in (suspect, other)} == {JobState.SUCCEEDED}


def test_who_waits_for_its_turn_is_handed_back_when_the_worker_leaves(sessions: Sessions, hire: Hire) -> None:
    worker, suspects = hire(Stage.LLM), [submit(sessions, f"number {number}") for number in range(3)]
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET lost_leases = 1"))
    with worker.gates[Stage.LLM].closed() as until_reached:
        for job_id in suspects:
            worker.begin(job_id)
        until_reached()
        until(lambda: len(worker.runner.held()) == 3)
        worker.runner.stop()
        until(lambda: len(worker.runner.held()) == 1)
    worker.end()
    jobs = [load(sessions, job_id) for job_id in suspects]
    assert sorted(job.state for job in jobs) == [JobState.QUEUED, JobState.QUEUED, JobState.SUCCEEDED]
    assert {job.lost_leases for job in jobs} == {1}
