"""Canceling a job at the worst moments: it ends in one state, and no speech is left that nobody asks for."""

from uuid import UUID

import pytest
from sqlalchemy import Connection

from tests.gated_worker import Hire, held_row
from tests.moves import move
from tests.patience import until
from voxqueue.database.session import Sessions
from voxqueue.jobs import lifecycle, repository, submission
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.models import Job
from voxqueue.jobs.states import JobState, RunState
from voxqueue.jobs.submission import Wishes
from voxqueue.keys.caller import ANYBODY, DEFAULT_TENANT
from voxqueue.stages import Stage

pytestmark = pytest.mark.integration

_CANCELED = [RunState.CANCELED, RunState.CANCELED]


def submit(sessions: Sessions, kind: Kind = Kind.CHAT, words: str = "hello") -> UUID:
    with sessions.begin() as session:
        return submission.submit(session, ANYBODY, Wishes(kind=kind, text=words)).id


def load(sessions: Sessions, job_id: UUID) -> Job:
    with sessions() as session:
        return repository.get(session, job_id, DEFAULT_TENANT)


def cancel(connection: Connection, job_id: UUID) -> None:
    assert lifecycle.move(connection, [lifecycle.cancel(job_id, DEFAULT_TENANT)])[0]


def test_canceled_while_it_is_being_claimed(sessions: Sessions, hire: Hire) -> None:
    worker, job_id = hire(), submit(sessions)
    with held_row(sessions, job_id) as (connection, until_blocked):
        worker.begin(job_id)
        until_blocked()
        cancel(connection, job_id)
    worker.end()
    job = load(sessions, job_id)
    assert (job.state, job.attempt, [run.state for run in job.runs]) == (JobState.CANCELED, 0, _CANCELED)
    assert worker.gates[Stage.LLM].texts == []


def test_canceled_while_it_waits_for_a_batch(sessions: Sessions, hire: Hire) -> None:
    worker, first, second = hire(), submit(sessions, words="first"), submit(sessions, words="second")
    with worker.gates[Stage.LLM].closed() as until_reached:
        worker.begin(first)
        until_reached()
        worker.begin(second)
        until(lambda: load(sessions, second).state is JobState.RUNNING)
        move(sessions, lifecycle.cancel(second, DEFAULT_TENANT))
        worker.beat()
    worker.end()
    assert worker.gates[Stage.LLM].texts == ["first"], "no model worked for nobody"
    assert load(sessions, second).state is JobState.CANCELED
    assert load(sessions, first).state is JobState.SUCCEEDED
    assert len(worker.speech()) == 1


def test_canceled_in_a_model_call(sessions: Sessions, hire: Hire) -> None:
    worker, job_id = hire(), submit(sessions)
    with worker.gates[Stage.LLM].closed() as until_reached:
        worker.begin(job_id)
        until_reached()
        move(sessions, lifecycle.cancel(job_id, DEFAULT_TENANT))
    worker.end()
    job = load(sessions, job_id)
    assert (job.state, [run.state for run in job.runs]) == (JobState.CANCELED, _CANCELED)
    assert [run.result for run in job.runs] == [None, None]
    assert worker.speech() == [], "the next stage may have begun before it was known; nothing of it is left"


def test_canceled_between_the_storing_of_its_speech_and_the_commit(sessions: Sessions, hire: Hire) -> None:
    worker, job_id = hire(), submit(sessions, Kind.SPEECH)
    with worker.gates[Stage.TTS].closed() as until_reached:
        worker.begin(job_id)
        until_reached()
        lock = held_row(sessions, job_id)
        connection, until_blocked = lock.__enter__()
    until_blocked()
    assert len(worker.speech()) == 1, "it is stored, and hangs at its commit"
    cancel(connection, job_id)
    lock.__exit__(None, None, None)
    worker.end()
    assert load(sessions, job_id).state is JobState.CANCELED
    assert worker.speech() == []


def test_canceled_while_its_checkpoint_is_committed_and_its_speech_is_made(sessions: Sessions, hire: Hire) -> None:
    worker, job_id = hire(), submit(sessions)
    with worker.gates[Stage.LLM].closed() as until_reached:
        worker.begin(job_id)
        until_reached()
        lock = held_row(sessions, job_id)
        connection, until_blocked = lock.__enter__()
    until_blocked()
    until(lambda: len(worker.speech()) == 1)
    cancel(connection, job_id)
    lock.__exit__(None, None, None)
    worker.end()
    job = load(sessions, job_id)
    assert (job.state, [run.state for run in job.runs]) == (JobState.CANCELED, _CANCELED)
    assert worker.speech() == []


@pytest.mark.parametrize("first", ["cancel", "hand over"])
def test_canceled_while_it_is_handed_over(sessions: Sessions, hire: Hire, first: str) -> None:
    writer, speaker, job_id = hire(Stage.LLM), hire(Stage.TTS), submit(sessions)
    with writer.gates[Stage.LLM].closed() as until_reached:
        writer.begin(job_id)
        until_reached()
        lock = held_row(sessions, job_id)
        connection, until_blocked = lock.__enter__()
    until_blocked()
    if first == "cancel":
        cancel(connection, job_id)
    lock.__exit__(None, None, None)
    writer.end()
    if first == "hand over":
        move(sessions, lifecycle.cancel(job_id, DEFAULT_TENANT))
    speaker.begin(job_id)
    speaker.end()
    job = load(sessions, job_id)
    finished = RunState.SUCCEEDED if first == "hand over" else RunState.CANCELED
    assert (job.state, [run.state for run in job.runs]) == (JobState.CANCELED, [finished, RunState.CANCELED])
    assert speaker.gates[Stage.TTS].texts == []
    assert speaker.speech() == []


def test_canceled_and_tried_again_while_the_first_try_still_runs(sessions: Sessions, hire: Hire) -> None:
    slow, quick, job_id = hire(), hire(), submit(sessions, Kind.SPEECH)
    with slow.gates[Stage.TTS].closed() as until_reached:
        slow.begin(job_id)
        until_reached()
        move(sessions, lifecycle.cancel(job_id, DEFAULT_TENANT))
        move(sessions, lifecycle.retry(job_id, DEFAULT_TENANT))
        quick.begin(job_id)
        quick.end()
    slow.end()
    job = load(sessions, job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert job.runs[0].result
    assert quick.speech() == [job.runs[0].result["key"]], "of the first try nothing is left"
