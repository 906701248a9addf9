"""A runner with an engine of the test's own, on a real Postgres: how far a long note is, and what it gets less."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.ears import Ears
from voxqueue.database.session import Sessions
from voxqueue.errors import DatabaseUnavailable
from voxqueue.jobs import lifecycle, repository, submission
from voxqueue.jobs.kinds import Kind, Priority
from voxqueue.jobs.models import Job
from voxqueue.jobs.options import Options
from voxqueue.jobs.states import JobState
from voxqueue.jobs.submission import Wishes
from voxqueue.keys.caller import ANYBODY, DEFAULT_TENANT
from voxqueue.queue import JobQueue
from voxqueue.settings import DatabaseSettings, JobsSettings, RedisSettings, Settings, StageSettings, StorageSettings
from voxqueue.stages import LlmRequest, LlmResult, Stage
from voxqueue.storage import open_store
from workers.engines.base import Ask, WholeLlmEngine
from workers.heartbeat import LeaseBeat
from workers.ledger import Ledger
from workers.runner import Held, JobFailed, Runner
from workers.serving import Served
from workers.steps import create_steps

pytestmark = pytest.mark.integration

_WAIT_S = 20
_LEASE_S = 9.0


class SlowEngine(WholeLlmEngine):
    """Says that it has done a share, then waits until it is allowed to go on."""

    name = "slow"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.model = "m"
        self.shares = iter((0.25, 0.5))
        self.reached, self.may_go_on = threading.Semaphore(0), threading.Semaphore(0)

    def load(self) -> None:
        """Nothing to load."""

    def run(self, batch: object) -> list[LlmResult]:
        return [LlmResult(text="done")]

    def answer(self, request: LlmRequest, ask: Ask[LlmRequest, LlmResult]) -> LlmResult:
        for share in self.shares:
            ask.progress(share)
            self.reached.release()
            assert self.may_go_on.acquire(timeout=_WAIT_S)
        ask.degrade("it took its time")
        return super().answer(request, ask)


@dataclass
class Bench:
    """One worker's runner, and the beat that looks after its jobs."""

    sessions: Sessions
    engine: SlowEngine
    runner: Runner
    ears: Ears = field(default_factory=Ears)

    def beat(self) -> LeaseBeat:
        return LeaseBeat(self.runner, self.sessions, self.ears, _LEASE_S)

    def job(self, job_id: UUID) -> Job:
        with self.sessions() as session:
            return repository.get(session, job_id, DEFAULT_TENANT)

    def submit(self, priority: Priority = Priority.NORMAL) -> UUID:
        with self.sessions.begin() as session:
            return submission.submit(session, ANYBODY, Wishes(kind=Kind.REPLY, text="hi", priority=priority)).id

    @contextmanager
    def running(self) -> Iterator[UUID]:
        """A job that the engine has begun with. It goes on to its end when the block does."""
        job_id = self.submit()
        thread = threading.Thread(target=self.runner.run, args=(job_id,))
        thread.start()
        try:
            assert self.engine.reached.acquire(timeout=_WAIT_S)
            yield job_id
        finally:
            self.engine.may_go_on.release(2)
            thread.join(_WAIT_S)
            assert not thread.is_alive()

    def go_on(self) -> None:
        self.engine.may_go_on.release()
        assert self.engine.reached.acquire(timeout=_WAIT_S)


@pytest.fixture
def bench(sessions: Sessions, database_url: str, redis_url: str, blobs: Path) -> Iterator[Bench]:
    settings = Settings(
        database=DatabaseSettings(url=database_url),
        redis=RedisSettings(url=redis_url),
        storage=StorageSettings(dir=blobs),
        jobs=JobsSettings(lease_s=_LEASE_S),
    )
    engine, store, queue, ears = SlowEngine(settings), open_store(settings), JobQueue(settings), Ears()
    bind = sessions.kw["bind"]
    ledger = Ledger(bind, ears, lambda: None, is_crowded=lambda: False)
    served = Served(engine, StageSettings())
    runner = Runner(
        worker="w",
        served={Stage.LLM: served},
        steps=create_steps(settings, store),
        ledger=ledger,
        queue=queue,
        store=store,
        settings=settings.jobs,
    )
    yield Bench(sessions, engine, runner, ears)
    served.stop(wait_s=_WAIT_S)
    ledger.stop()
    queue.close()


def lease(job: Job) -> object:
    assert job.lease_until is not None
    return job.lease_until


def test_progress_of_a_long_note_is_written_down_and_announced_once(bench: Bench) -> None:
    beat = bench.beat()
    with bench.running() as job_id:
        bench.ears.heard.clear()
        beat()
        assert bench.job(job_id).runs[0].share == 0.25
        first = lease(bench.job(job_id))
        beat()
        assert lease(bench.job(job_id)) == first, "nothing has changed, so nothing is written"
        bench.go_on()
        beat()
        assert bench.job(job_id).runs[0].share == 0.5
        assert lease(bench.job(job_id)) > first, "whoever makes progress keeps its lease"  # type: ignore[operator]
        assert bench.ears.heard == [(job_id, JobState.RUNNING)] * 2
    job = bench.job(job_id)
    assert (job.state, job.runs[0].share) == (JobState.SUCCEEDED, 1)


def test_leases_are_renewed_every_third_of_one_though_nothing_happens(bench: Bench) -> None:
    beat = bench.beat()
    assert beat.interval_s == pytest.approx(1)
    with bench.running() as job_id:
        renewals = []
        for _ in range(7):
            before = lease(bench.job(job_id))
            beat()
            renewals.append(lease(bench.job(job_id)) != before)
    assert renewals == [True, False, False, True, False, False, True]


def test_who_has_lost_the_job_writes_no_progress_and_learns_of_it(bench: Bench) -> None:
    beat = bench.beat()
    with bench.running() as job_id:
        beat()
        with bench.sessions.begin() as session:
            [back] = lifecycle.move(session.connection(), [lifecycle.put_back(job_id, 1)])
            [taken] = lifecycle.move(
                session.connection(), [lifecycle.claim(job_id, worker="other", stages=Stage, lease_s=60)]
            )
        assert back
        assert taken
        bench.go_on()
        beat()
        assert bench.job(job_id).runs[0].share == 0, "the other worker has only begun"
        assert [held.lost for held in bench.runner.held()] == [True]
    assert bench.job(job_id).state is JobState.RUNNING


def test_a_beat_outlives_a_database_that_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    beat = bench.beat()
    with bench.running() as job_id:
        with monkeypatch.context() as away:
            away.setattr(repository, "renew", _unavailable(DatabaseUnavailable("away")))
            beat()
        assert bench.job(job_id).runs[0].share == 0
        beat()
        assert bench.job(job_id).runs[0].share == 0.25, "told as soon as somebody listens"


def _unavailable(error: Exception) -> object:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_what_the_engine_gave_less_is_written_with_the_result(bench: Bench) -> None:
    with bench.running() as job_id:
        pass
    assert bench.job(job_id).runs[0].degradations == ["it took its time"]


def test_a_jobs_priority_says_how_patient_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker claims more jobs than its engine takes at once, so a high one would wait behind all of them."""
    patience: list[float] = []
    begin = bench.runner.served[Stage.LLM].batcher.begin

    def watched(request: Any, **how: Any) -> Any:
        patience.append(how["patience_s"])
        return begin(request, **how)

    monkeypatch.setattr(bench.runner.served[Stage.LLM].batcher, "begin", watched)
    bench.engine.shares = iter(())
    for priority in (Priority.HIGH, Priority.NORMAL, Priority.LOW):
        bench.runner.run(bench.submit(priority))
    assert patience == sorted(patience)
    assert 0 == patience[0] < patience[1] < patience[2] < StageSettings().deadline_s


class Panic(BaseException):
    """As the panics of a runtime written in Rust are."""


def test_a_panic_in_a_jobs_thread_ends_the_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody would write down what became of it, and it would be taken for one that kills its workers."""

    def panic(*_: object) -> None:
        raise Panic("index out of bounds")

    monkeypatch.setattr(bench.engine, "answer", panic)
    job_id = bench.submit()
    with pytest.raises(JobFailed, match="Unexpected Panic in stage llm"):
        bench.runner.run(job_id)
    assert bench.job(job_id).state is JobState.FAILED


def test_the_next_stage_begins_with_no_progress() -> None:
    job = lifecycle.ClaimedJob(
        *(UUID(int=1), 1, Kind.CHAT, Stage.LLM, Priority.HIGH, None, None, "hi", None, None, None, "ogg"),
        options=Options(),
        results={},
        failures=0,
        lost_leases=0,
        waited_s=0,
    )
    held = Held(job, Stage.LLM, ready_at=0)
    held.make_progress(0.5)
    held.make_progress(0.25)
    assert held.progress == 0.5
    held.go_on(Stage.TTS)
    assert (held.stage, held.progress) == (Stage.TTS, 0)
