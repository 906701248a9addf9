"""Takes one job through the stages served here: claim, then prepare, ask the engine, conclude, commit for each stage.

Reads like code for a single job; that many threads run it at once is the batchers' business. What becomes of a stage is
a value, and `_record` is the one place that writes it down.
"""

import logging
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from voxqueue.errors import DatabaseUnavailable, NotBegun, VoxqueueError
from voxqueue.jobs import lifecycle
from voxqueue.jobs.lifecycle import ClaimedJob, Move, Moved, Outcome
from voxqueue.jobs.repository import Hint
from voxqueue.jobs.states import JobState, RunState
from voxqueue.queue import JobQueue
from voxqueue.settings import JobsSettings
from voxqueue.stages import Stage
from voxqueue.storage import BlobStore
from workers.batching import Answer, Batcher
from workers.engines.base import Engine
from workers.ledger import Ledger
from workers.steps import Concluded, Step

log = logging.getLogger(__name__)

_CROWD = 8


class Stopping(Exception):
    """The worker is shutting down and takes no more jobs. The hint is for another one."""


class JobFailed(Exception):
    """What Celery, and so Flower, gets to see of a job that failed. By then the failure is written down."""


@dataclass(frozen=True, slots=True)
class Served:
    """A stage that is warm here."""

    engine: Engine[Any, Any]
    batcher: Batcher[Any, Any]


@dataclass(frozen=True, slots=True)
class Ran:
    """A stage that has its result, which is not written down yet."""

    answer: Answer[Any]
    concluded: Concluded


@dataclass(slots=True, eq=False)
class Held:
    """A job that this worker holds. `lost` is set by whoever learns that the claim is over."""

    job: ClaimedJob
    stage: Stage
    lost: bool = False


class Runner:
    """Runs jobs. One per worker, called by all its threads."""

    def __init__(
        self,
        *,
        worker: str,
        served: Mapping[Stage, Served],
        steps: Mapping[Stage, Step],
        ledger: Ledger,
        queue: JobQueue,
        store: BlobStore,
        settings: JobsSettings,
    ) -> None:
        self.worker = worker
        self.served = served
        self._steps = steps
        self._ledger = ledger
        self._queue = queue
        self._store = store
        self._settings = settings
        self._held: dict[UUID, Held] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def run(self, job_id: UUID) -> str:
        """Run a job as far as this worker can.

        Returns:
            A line for Flower.

        Raises:
            JobFailed: The job failed.
            Stopping: The job was not touched.
        """
        if self._stopping.is_set():
            raise Stopping(f"job {job_id} is left to another worker")
        try:
            job = self._ledger.claim(
                job_id, worker=self.worker, stages=list(self.served), lease_s=self._settings.lease_s
            )
        except VoxqueueError as error:
            raise JobFailed(f"not claimed, the sweep will send it again: {error.detail}") from None
        if job is None:
            return "nothing to do: taken, finished or not due"
        held = Held(job, job.stage)
        with self._lock:
            self._held[job_id] = held
        try:
            return self._run_stages(held)
        finally:
            with self._lock:
                self._held.pop(job_id, None)

    def held(self) -> list[Held]:
        """The jobs held now, for those who renew the leases."""
        with self._lock:
            return list(self._held.values())

    @property
    def is_crowded(self) -> bool:
        """Whether more jobs are held than a few."""
        return len(self._held) > _CROWD

    def stop(self) -> None:
        """Begin nothing new: what waits for an engine goes back to its queue, what runs is finished and handed on."""
        self._stopping.set()
        for served in self.served.values():
            served.batcher.stop()

    def put_back_all(self) -> None:
        """Return every job that is still held to its queue at once; whatever their engines yield is void."""
        for held in self.held():
            held.lost = True
            try:
                moved = self._ledger.move(lifecycle.put_back(held.job.id, held.job.attempt, held.stage))
            except VoxqueueError as error:
                log.warning("job %s not put back, its lease will run out: %s", held.job.id, error.detail)
            else:
                self._hint(held.job, moved)

    def _run_stages(self, held: Held) -> str:
        """One stage after the other while the next is served here. `_record` decides whether it goes on."""
        visited: list[str] = []
        while True:
            visited.append(held.stage.value)
            outcome = self._run_stage(held)
            move = self._failed(held, outcome) if isinstance(outcome, VoxqueueError) else self._done(held, outcome)
            moved = self._record(held, move, outcome)
            if moved is None:
                return f"{', '.join(visited)}: given up, the job is no longer held here"
            if moved.state is JobState.FAILED:
                assert isinstance(outcome, VoxqueueError)
                raise JobFailed(f"{', '.join(visited)}: {outcome.title}: {outcome.detail}")
            if moved.state is not JobState.RUNNING:
                self._hint(held.job, moved)
                return f"{', '.join(visited)}: {moved.state}" + (
                    f" for {moved.stage}" if moved.state is JobState.QUEUED else ""
                )
            assert isinstance(outcome, Ran)
            held.job.results[held.stage] = outcome.concluded.result
            held.stage = moved.stage

    def _run_stage(self, held: Held) -> Ran | VoxqueueError:
        """Prepare, ask, conclude."""
        step = self._steps[held.stage]
        try:
            request = step.prepare(held.job)
            # Who was there when a try failed or a worker died may be the cause, and must not harm others again.
            suspect = held.job.failures > 0 or held.job.lost_leases > 0
            answer = self.served[held.stage].batcher.ask(request, wanted=lambda: not held.lost, alone=suspect)
            if isinstance(answer.result, VoxqueueError):
                return answer.result
            return Ran(answer, step.conclude(held.job, answer.result))
        except VoxqueueError as error:
            return error
        except Exception as error:
            log.exception("job %s: unexpected error in stage %s", held.job.id, held.stage)
            return VoxqueueError(f"Unexpected {type(error).__name__} in stage {held.stage}; the worker's log has more.")

    def _done(self, held: Held, ran: Ran) -> Move:
        """What follows a stage that has its result: the next one, here or elsewhere, or the end."""
        job, answer = held.job, ran.answer
        engine = self.served[held.stage].engine
        outcome = Outcome(
            stage=held.stage,
            state=RunState.SUCCEEDED,
            engine=engine.name,
            model=engine.model,
            result=ran.concluded.result,
            run_ms=round(answer.run_ms, 3),
            started_ms_ago=(time.monotonic() - answer.started_at) * 1000,
            batch_size=answer.batch_size,
        )
        later = job.kind.stages[job.kind.stages.index(held.stage) + 1 :]
        if ran.concluded.silence:
            skipped = (Outcome(stage=stage, state=RunState.SKIPPED, reason=ran.concluded.silence) for stage in later)
            return lifecycle.succeed(job.id, job.attempt, (outcome, *skipped))
        if not later:
            return lifecycle.succeed(job.id, job.attempt, (outcome,))
        if later[0] in self.served and not self._stopping.is_set():
            return lifecycle.proceed(job.id, job.attempt, (outcome,), later[0], lease_s=self._settings.lease_s)
        return lifecycle.hand_over(job.id, job.attempt, (outcome,), later[0])

    def _failed(self, held: Held, error: VoxqueueError) -> Move:
        """What follows an error: back to the queue, now or later, or the end of the job."""
        job, stage = held.job, held.stage
        if isinstance(error, NotBegun):
            return lifecycle.put_back(job.id, job.attempt, stage)
        failures = (job.failures if stage is job.stage else 0) + 1
        if error.retryable and failures < self._settings.max_tries:
            pause = min(self._settings.retry_delay_max_s, self._settings.retry_delay_s * 2 ** (failures - 1))
            pause *= random.uniform(0.75, 1.25)  # so that what failed together does not come back together
            return lifecycle.put_back(job.id, job.attempt, stage, due_in_s=pause, reason=error.detail)
        engine = self.served[stage].engine
        outcome = Outcome(
            stage=stage,
            state=RunState.FAILED,
            engine=engine.name,
            model=engine.model,
            reason=error.detail,
            failed_try=True,
        )
        return lifecycle.fail(job.id, job.attempt, (outcome,), {**error.as_problem(), "stage": stage.value})

    def _record(self, held: Held, move: Move, outcome: Ran | VoxqueueError) -> Moved | None:
        """Write down what became of a stage, and insist on it for as long as the lease can last.

        None: the job is no longer ours, and the result is void.
        """
        give_up_at = time.monotonic() + self._settings.lease_s
        uncertain = False
        while True:
            try:
                moved = self._ledger.move(move)
                break
            except DatabaseUnavailable:
                uncertain = True  # the connection may have broken after the commit
                if time.monotonic() > give_up_at:
                    log.warning("job %s: result lost, the database was away for longer than the lease", held.job.id)
                    return None
                time.sleep(0.5)
            except VoxqueueError as error:
                if move.to is JobState.FAILED:
                    log.error("job %s: not even its failure could be written: %s", held.job.id, error.detail)
                    return None
                move = self._failed(held, error)
        if moved is None and not uncertain and isinstance(outcome, Ran) and outcome.concluded.key:
            self._discard(outcome.concluded.key)
        return moved

    def _discard(self, key: str) -> None:
        try:
            self._store.delete([key])
        except VoxqueueError as error:
            log.warning("blob %s of a job no longer held was not removed: %s", key, error.detail)

    def _hint(self, job: ClaimedJob, moved: Moved | None) -> None:
        """Say where a job waits now. One that waits until later is the sweep's to send."""
        if moved is not None and moved.state is JobState.QUEUED and moved.is_due:
            self._queue.hint([Hint(job.id, moved.stage, moved.attempt, moved.priority)])
