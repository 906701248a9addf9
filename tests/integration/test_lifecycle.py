"""What the lifecycle allows and refuses, on a real Postgres."""

import threading
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from voxqueue.database.base import new_id
from voxqueue.database.session import Sessions
from voxqueue.jobs import lifecycle, overdue, repository, submission
from voxqueue.jobs.kinds import Kind, Priority
from voxqueue.jobs.lifecycle import Move, Moved, Outcome
from voxqueue.jobs.models import Job
from voxqueue.jobs.options import Options
from voxqueue.jobs.states import JobState, RunState
from voxqueue.jobs.submission import Wishes
from voxqueue.keys.caller import ANYBODY, DEFAULT_TENANT
from voxqueue.stages import Stage, Task

pytestmark = pytest.mark.integration

ALL = tuple(Stage)


def queue_job(sessions: Sessions, kind: Kind = Kind.CHAT) -> UUID:
    with sessions.begin() as session:
        job = Job(kind=kind, text="hello", audio_format="ogg", client_metadata={})
        repository.add(session, job)
        return job.id


def move(sessions: Sessions, *moves: Move) -> list[Moved | None]:
    with sessions.begin() as session:
        return lifecycle.move(session.connection(), moves)


def claim(sessions: Sessions, job_id: UUID, *, stages: tuple[Stage, ...] = ALL, lease_s: float = 60) -> Moved | None:
    return move(sessions, lifecycle.claim(job_id, worker="w", stages=stages, lease_s=lease_s))[0]


def load(sessions: Sessions, job_id: UUID) -> Job:
    with sessions() as session:
        return repository.get(session, job_id, DEFAULT_TENANT)


def done(stage: Stage, **result: str) -> Outcome:
    return Outcome(
        stage=stage, state=RunState.SUCCEEDED, engine="e", model="m", result=result, run_ms=5.0, batch_size=2
    )


def test_a_job_goes_through_its_stages_and_each_is_written_down(sessions: Sessions) -> None:
    job_id = queue_job(sessions)
    assert claim(sessions, job_id)
    job = load(sessions, job_id)
    assert (job.state, job.stage, job.attempt) == (JobState.RUNNING, Stage.LLM, 1)
    assert [run.state for run in job.runs] == [RunState.RUNNING, RunState.PENDING]

    [moved] = move(sessions, lifecycle.proceed(job_id, 1, done(Stage.LLM, text="hi"), Stage.TTS, lease_s=60))
    where = JobState.RUNNING, Stage.TTS, job.priority
    assert moved == Moved(job_id, 1, *where, is_due=True, claimed=None, owes=False, kind=job.kind, age_s=0)
    assert moved.age_s >= 0
    job = load(sessions, job_id)
    assert [run.state for run in job.runs] == [RunState.SUCCEEDED, RunState.RUNNING]
    assert job.runs[0].result == {"text": "hi"}

    assert move(sessions, lifecycle.succeed(job_id, 1, done(Stage.TTS, key="k")))[0]
    job = load(sessions, job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.finished_at is not None
    assert job.lease_until is None
    assert all(run.finished_at and run.wait_ms is not None and run.batch_size == 2 for run in job.runs)


def test_a_stage_ended_when_its_work_did_and_none_begins_before_that(sessions: Sessions) -> None:
    """A checkpoint is committed beside the next stage: told by the commits, the two would overlap."""
    job_id = queue_job(sessions)
    with sessions.begin() as session:
        session.execute(text("UPDATE stage_runs SET ready_at = now() - interval '1 hour' WHERE ready_at IS NOT NULL"))
    assert claim(sessions, job_id)
    first = replace(done(Stage.LLM), started_ms_ago=2_000, ms_ago=1_000)
    move(sessions, lifecycle.proceed(job_id, 1, first, Stage.TTS, lease_s=60))
    llm, tts = load(sessions, job_id).runs
    assert llm.started_at
    assert llm.finished_at
    assert (llm.finished_at - llm.started_at).total_seconds() == pytest.approx(1)
    assert tts.ready_at == llm.finished_at

    told_sooner = replace(done(Stage.TTS), started_ms_ago=60_000, ms_ago=50_000)
    move(sessions, lifecycle.succeed(job_id, 1, told_sooner))
    llm, tts = load(sessions, job_id).runs
    assert tts.started_at == tts.finished_at == llm.finished_at


def test_only_one_of_many_workers_gets_a_job(sessions: Sessions) -> None:
    jobs = [queue_job(sessions) for _ in range(20)]
    won: list[UUID] = []
    start = threading.Barrier(8)

    def race(order: int) -> None:
        start.wait()
        claims = [
            lifecycle.claim(job, worker=str(order), stages=ALL, lease_s=60) for job in jobs[:: 1 - 2 * (order % 2)]
        ]
        won.extend(moved.job_id for moved in move(sessions, *claims) if moved)

    threads = [threading.Thread(target=race, args=(order,)) for order in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(jobs), "each job claimed exactly once, and no deadlock between opposite orders"


def test_two_claims_of_one_job_in_one_batch_are_granted_once(sessions: Sessions) -> None:
    job_id = queue_job(sessions)
    both = [lifecycle.claim(job_id, worker=name, stages=ALL, lease_s=60) for name in ("a", "b")]
    first, second = move(sessions, *both)
    assert first is not None
    assert second is None
    assert load(sessions, job_id).worker == "a"


@pytest.mark.parametrize("stages", [(Stage.STT,), (Stage.TTS,), ()])
def test_a_worker_gets_no_job_at_a_stage_that_it_does_not_serve(sessions: Sessions, stages: tuple[Stage, ...]) -> None:
    assert claim(sessions, queue_job(sessions), stages=stages) is None


def test_a_job_put_back_for_later_is_not_to_be_had_before(sessions: Sessions) -> None:
    job_id = queue_job(sessions)
    assert claim(sessions, job_id)
    [moved] = move(sessions, lifecycle.try_again(job_id, 1, Stage.LLM, "engine broke", due_in_s=60, counts=True))
    assert moved is not None
    assert not moved.is_due
    assert claim(sessions, job_id) is None
    job = load(sessions, job_id)
    assert (job.runs[0].failures, job.runs[0].reason, job.hinted_at) == (1, "engine broke", None)


def test_who_lost_the_lease_changes_nothing_any_more(sessions: Sessions) -> None:
    job_id = queue_job(sessions)
    assert claim(sessions, job_id, lease_s=0)
    assert move(sessions, lifecycle.lose_lease(job_id, 1))[0], "the lease is over"
    assert claim(sessions, job_id), "somebody else takes it"
    failed = Outcome(stage=Stage.LLM, state=RunState.FAILED, reason="late")
    late = (
        lifecycle.proceed(job_id, 1, done(Stage.LLM, text="late"), Stage.TTS, lease_s=60),
        lifecycle.succeed(job_id, 1, done(Stage.LLM, text="late")),
        lifecycle.fail(job_id, 1, failed, {"detail": "late"}),
        lifecycle.put_back(job_id, 1),
        lifecycle.hand_over(job_id, 1, done(Stage.LLM, text="late"), Stage.TTS),
    )
    for one in late:
        assert move(sessions, one) == [None]
    job = load(sessions, job_id)
    assert (job.state, job.attempt, job.lost_leases) == (JobState.RUNNING, 2, 1)
    assert job.runs[0].result is None


def test_a_worker_that_hands_everything_back_cannot_undo_what_is_committed(sessions: Sessions) -> None:
    job_id = queue_job(sessions)
    assert claim(sessions, job_id)
    assert move(sessions, lifecycle.proceed(job_id, 1, done(Stage.LLM, text="hi"), Stage.TTS, lease_s=60))[0]
    stale = lifecycle.try_again(job_id, 1, Stage.LLM, "late", due_in_s=0, counts=True)
    assert move(sessions, stale) == [None], "the job does not stand there any more"
    assert move(sessions, lifecycle.put_back(job_id, 1))[0]
    job = load(sessions, job_id)
    assert (job.state, job.stage) == (JobState.QUEUED, Stage.TTS)
    assert [(run.state, run.result) for run in job.runs] == [
        (RunState.SUCCEEDED, {"text": "hi"}),
        (RunState.PENDING, None),
    ]
    moved = claim(sessions, job_id)
    assert moved is not None
    assert moved.claimed is not None
    assert moved.claimed.results == {Stage.LLM: {"text": "hi"}}


def test_what_an_engine_yields_can_always_be_stored(sessions: Sessions) -> None:
    job_id = queue_job(sessions, Kind.REPLY)
    assert claim(sessions, job_id)
    assert move(sessions, lifecycle.succeed(job_id, 1, done(Stage.LLM, text="a\0b \ud800 \\u0000 😀")))[0]
    assert load(sessions, job_id).runs[0].result == {"text": "ab ? \\u0000 😀"}


def test_a_worker_is_told_what_was_asked_of_each_stage(sessions: Sessions) -> None:
    wished = Options(task=Task.TRANSLATE, prompt="Zwieback", word_timestamps=True)
    with sessions.begin() as session:
        job = submission.submit(session, ANYBODY, Wishes(kind=Kind.REPLY, text="hi", options=wished))
    moved = claim(sessions, job.id)
    assert moved is not None
    assert moved.claimed is not None
    assert moved.claimed.options == wished
    assert job.options == {"task": "translate", "prompt": "Zwieback", "word_timestamps": True}, "and nothing else"


def test_options_of_a_newer_version_and_none_of_an_older_one_do_not_keep_a_job_from_running(sessions: Sessions) -> None:
    older, newer = queue_job(sessions), queue_job(sessions)
    with sessions.begin() as session:
        options = {"options": '{"mood": 1, "prompt": "x"}', "id": newer}
        session.execute(text("UPDATE jobs SET options = CAST(:options AS jsonb) WHERE id = :id"), options)
    claims = [claim(sessions, job_id) for job_id in (older, newer)]
    assert [moved and moved.claimed and moved.claimed.options for moved in claims] == [Options(), Options(prompt="x")]


def test_what_a_stage_gave_less_is_kept_and_belongs_to_the_try_that_succeeded(sessions: Sessions) -> None:
    job_id = queue_job(sessions)
    assert claim(sessions, job_id)
    less = replace(done(Stage.LLM, text="hi"), degradations=("it was cut \ud800",))
    assert move(sessions, lifecycle.proceed(job_id, 1, less, Stage.TTS, lease_s=60))[0]
    again = lifecycle.try_again(job_id, 1, Stage.TTS, "broke", due_in_s=0, counts=True)
    assert move(sessions, again)[0]
    assert [run.degradations for run in load(sessions, job_id).runs] == [["it was cut ?"], []]


def test_progress_begins_anew_with_each_try_and_stays_where_a_job_failed(sessions: Sessions) -> None:
    job_id = queue_job(sessions)

    def reach(share: float) -> float:
        with sessions.begin() as session:
            repository.tell_progress(session, [(job_id, Stage.LLM, share)])
        return load(sessions, job_id).runs[0].share

    assert reach(0.5) == 0, "nobody runs it yet"
    assert claim(sessions, job_id)
    assert reach(0.5) == 0.5
    assert reach(0.25) == 0.5, "never backwards"
    assert move(sessions, lifecycle.put_back(job_id, 1))[0]
    assert load(sessions, job_id).runs[0].share == 0
    assert claim(sessions, job_id)
    assert reach(0.75) == 0.75
    failed = Outcome(stage=Stage.LLM, state=RunState.FAILED, reason="refused")
    assert move(sessions, lifecycle.fail(job_id, 2, failed, {"detail": "refused"}))[0]
    assert load(sessions, job_id).runs[0].share == 0.75


def test_a_job_that_kills_its_workers_is_given_up(sessions: Sessions) -> None:
    job_id = queue_job(sessions)
    assert claim(sessions, job_id, lease_s=0)
    assert move(sessions, lifecycle.give_up(job_id, 1, {"detail": "it kills"}))[0]
    job = load(sessions, job_id)
    assert (job.state, job.lost_leases, job.error) == (JobState.FAILED, 1, {"detail": "it kills"})
    assert [run.state for run in job.runs] == [RunState.FAILED, RunState.CANCELED]


def test_a_lease_that_is_renewed_is_not_lost(sessions: Sessions) -> None:
    job_id = queue_job(sessions)
    assert claim(sessions, job_id, lease_s=0)
    with sessions.begin() as session:
        assert repository.renew(session, [(job_id, 1)], 60) == {(job_id, 1)}
        assert repository.renew(session, [(job_id, 2), (new_id(), 1)], 60) == set()
    assert move(sessions, lifecycle.lose_lease(job_id, 1)) == [None]
    with sessions() as session:
        assert overdue.lost_leases(session, 0, 10) == []


@pytest.mark.parametrize("claimed", [False, True])
def test_cancel_ends_an_open_job_at_once_and_its_worker_is_refused(sessions: Sessions, claimed: bool) -> None:
    job_id = queue_job(sessions)
    if claimed:
        assert claim(sessions, job_id)
    assert move(sessions, lifecycle.cancel(job_id, DEFAULT_TENANT))[0]
    assert move(sessions, lifecycle.succeed(job_id, 1, done(Stage.LLM, text="late"))) == [None]
    job = load(sessions, job_id)
    assert job.state is JobState.CANCELED
    assert [run.state for run in job.runs] == [RunState.CANCELED, RunState.CANCELED]


def test_a_finished_job_moves_no_more(sessions: Sessions) -> None:
    job_id = queue_job(sessions, Kind.REPLY)
    assert claim(sessions, job_id)
    assert move(sessions, lifecycle.succeed(job_id, 1, done(Stage.LLM, text="hi")))[0]
    assert move(sessions, lifecycle.cancel(job_id, DEFAULT_TENANT)) == [None]
    assert claim(sessions, job_id) is None


def test_a_failed_job_leaves_no_run_open(sessions: Sessions) -> None:
    job_id = queue_job(sessions)
    assert claim(sessions, job_id)
    failed = Outcome(stage=Stage.LLM, state=RunState.FAILED, reason="refused", failed_try=True)
    assert move(sessions, lifecycle.fail(job_id, 1, failed, {"detail": "refused"}))[0]
    job = load(sessions, job_id)
    assert (job.state, job.error) == (JobState.FAILED, {"detail": "refused"})
    assert [run.state for run in job.runs] == [RunState.FAILED, RunState.CANCELED]


def test_a_move_that_no_state_allows_is_a_bug_not_a_wish(sessions: Sessions) -> None:
    impossible = Move(job_id=new_id(), to=JobState.RUNNING, origins=(JobState.SUCCEEDED,))
    with pytest.raises(AssertionError, match="is no move"):
        move(sessions, impossible)


def hint_all(session: Session, stage: Stage, stale_s: float, *, queue_is_empty: bool = True) -> list[UUID]:
    hints = overdue.stale_hints(session, stage, stale_s, 10, empty=tuple(Priority) if queue_is_empty else ())
    return [hint.job_id for hint in hints]


def test_hints_are_sent_again_only_for_jobs_that_wait_for_long(sessions: Sessions) -> None:
    job_id = queue_job(sessions)
    with sessions.begin() as session:
        assert hint_all(session, Stage.LLM, 60) == [], "hinted just now"
        session.execute(text("UPDATE jobs SET hinted_at = now() - interval '61 s'"))
        assert hint_all(session, Stage.TTS, 60) == [], "another stage"
        assert hint_all(session, Stage.LLM, 60) == [job_id]
        assert hint_all(session, Stage.LLM, 60) == [], "counts as hinted now"


def test_a_deep_backlog_is_not_hinted_again_unless_later_jobs_overtake(sessions: Sessions) -> None:
    old, newer = queue_job(sessions), queue_job(sessions)
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET hinted_at = now() - interval '90 s'"))
        assert hint_all(session, Stage.LLM, 60, queue_is_empty=False) == [], "their hints are in the queue"
        session.execute(text("UPDATE jobs SET hinted_at = now() - interval '30 s' WHERE id = :id"), {"id": newer})
    assert claim(sessions, newer)
    with sessions.begin() as session:
        assert hint_all(session, Stage.LLM, 60, queue_is_empty=False) == [old], "its hint was passed over"


def test_a_job_to_be_tried_again_is_hinted_when_it_is_due(sessions: Sessions) -> None:
    job_id = queue_job(sessions)
    assert claim(sessions, job_id)
    assert move(sessions, lifecycle.try_again(job_id, 1, Stage.LLM, "engine broke", due_in_s=60, counts=True))[0]
    with sessions.begin() as session:
        assert hint_all(session, Stage.LLM, 0) == []
        session.execute(text("UPDATE jobs SET due_at = now()"))
        assert hint_all(session, Stage.LLM, 60, queue_is_empty=False) == [job_id], "it had none yet"


def test_removing_a_job_dooms_its_blobs(sessions: Sessions) -> None:
    job_id = queue_job(sessions)
    assert claim(sessions, job_id)
    assert move(
        sessions, lifecycle.succeed(job_id, 1, done(Stage.LLM, text="x"), (done(Stage.TTS, key="speech/1.ogg"),))
    )[0]
    with sessions.begin() as session:
        repository.remove(session, repository.get(session, job_id, DEFAULT_TENANT))
    with sessions() as session:
        assert list(repository.doomed(session, 10)) == ["speech/1.ogg"]
        assert session.execute(text("SELECT count(*) FROM stage_runs")).scalar() == 0


def test_queues_count_what_waits_and_what_runs(sessions: Sessions) -> None:
    first, *_ = (queue_job(sessions, kind) for kind in (Kind.REPLY, Kind.CHAT, Kind.SPEECH))
    assert claim(sessions, first)
    with sessions() as session:
        queues = repository.queues(session)
    assert (queues[Stage.LLM].depth, queues[Stage.LLM].running) == (1, 1)
    assert (queues[Stage.TTS].depth, queues[Stage.STT].depth) == (1, 0)
    assert queues[Stage.TTS].oldest_age_s is not None
    assert queues[Stage.STT].oldest_age_s is None
