"""Takes one job through the stages served here: claim, then prepare, ask the engine, conclude, commit for each stage.

Reads like code for a single job; that many threads run it at once is the batchers' business. What becomes of a stage is
a value, and `_record` is the one place that writes it down.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from voxqueue.errors import DatabaseUnavailable, LedgerError, NotBegun, Unavailable, VoxqueueError
from voxqueue.jobs import lifecycle
from voxqueue.jobs.kinds import Priority
from voxqueue.jobs.lifecycle import ClaimedJob, Move, Moved
from voxqueue.jobs.repository import Claim, Hint
from voxqueue.jobs.states import JobState
from voxqueue.metrics import jobs as metrics
from voxqueue.queue import JobQueue
from voxqueue.settings import JobsSettings
from voxqueue.stages import Stage
from voxqueue.storage import BlobStore
from voxqueue.telemetry import about
from workers.ledger import Ledger
from workers.serving import Served
from workers.settling import Ran, after_error, after_success, later_stages
from workers.spans import stage_span, task_span
from workers.steps import Step

log = logging.getLogger(__name__)

# How long jobs that wait for an engine let more urgent ones go first: far less than a piece's deadline.
_PATIENCE_S = {Priority.HIGH: 0.0, Priority.NORMAL: 10.0, Priority.LOW: 30.0}

_CROWD = 8
_LAST_MOVES_S = 5.0
_LOOK_S = 0.5


class Stopping(Exception):
    """The worker is shutting down and takes no more jobs. The hint is for another one."""


class JobFailed(Exception):
    """What Celery, and so Flower, gets to see of a job that failed. By then the failure is written down."""

    def __init__(self, words: str, title: str = "The job failed") -> None:
        super().__init__(words)
        self.title = title


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A stage's result on its way into the database, while the next stage runs already."""

    stage: Stage
    ran: Ran
    written: Callable[[], Moved | None]


@dataclass(slots=True, eq=False)
class Held:
    """A job that this worker holds. `lost` is set by whoever learns that the claim is over.

    `progress` is how much of its stage is done, from 0 to 1, where the engine says so. `ready_at` is when the stage
    could begin, of `time.monotonic`.
    """

    job: ClaimedJob
    stage: Stage
    ready_at: float
    lost: bool = False
    progress: float = 0.0

    @property
    def claim(self) -> Claim:
        return self.job.id, self.job.attempt

    @property
    def suspicion(self) -> int:
        """How often it was there when a try failed or a worker died, and so may be the cause. 0: above suspicion."""
        return self.job.failures + self.job.lost_leases

    def go_on(self, stage: Stage) -> None:
        """Begin with the next stage."""
        self.progress = 0.0  # first: nobody may take what was made of the last stage for progress of this one
        self.stage = stage
        self.ready_at = time.monotonic()

    def make_progress(self, share: float) -> None:
        """Say how much of the stage is done; it never goes back."""
        self.progress = max(self.progress, share)


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
        self._held: dict[Claim, Held] = {}
        self._claiming = 0
        self._changed = threading.Condition()  # of the two above
        self._suspect = threading.Lock()
        self._stopping = threading.Event()

    def run(self, job_id: UUID) -> str:
        """Run a job as far as this worker can.

        Returns:
            A line for Flower.

        Raises:
            JobFailed: The job failed.
            Stopping: The job was not touched.
        """
        heard_ns = time.time_ns()
        held = self._hold(job_id)
        if held is None:
            return "nothing to do: taken, finished or not due"
        try:
            job = held.job
            with about(job=job.id, attempt=job.attempt), task_span(job, self.worker, heard_ns):
                return self._run_stages(held)
        finally:
            with self._changed:
                del self._held[held.claim]

    def held(self) -> list[Held]:
        """The jobs held now, for those who renew the leases."""
        with self._changed:
            return list(self._held.values())

    @property
    def is_crowded(self) -> bool:
        """Whether more jobs are held than a few."""
        return len(self._held) > _CROWD

    def stop(self) -> None:
        """Begin nothing new: what waits for an engine goes back to its queue, what runs is finished and handed on."""
        self._stopping.set()
        for served in list(self.served.values()):  # warming up may add to it meanwhile
            served.stop()

    def put_back_all(self) -> None:
        """Return every job that is still held to its queue at once; whatever their engines yield is void.

        Call `stop` first. What cannot be written in time comes back when its lease runs out.
        """
        with self._changed:  # a claim that is under way may be granted yet
            self._changed.wait_for(lambda: not self._claiming, timeout=_LAST_MOVES_S)
        all_held = self.held()
        for held in all_held:
            held.lost = True
        moves = [lifecycle.put_back(*held.claim) for held in all_held]
        made = self._ledger.move_all(moves, within_s=_LAST_MOVES_S)
        self._queue.hint([_hint(moved) for moved in made])
        log.warning("%d of %d jobs put back", len(made), len(all_held))

    def _hold(self, job_id: UUID) -> Held | None:
        """Claim the job, and count it among those held from the moment on that it may be ours."""
        with self._changed:
            self._claiming += 1
        held = None
        try:
            if (job := self._claim(job_id)) is not None:
                held = Held(job, job.stage, ready_at=time.monotonic() - job.waited_s)
            return held
        finally:
            with self._changed:
                if held is not None:
                    self._held[held.claim] = held
                self._claiming -= 1
                self._changed.notify_all()

    def _claim(self, job_id: UUID) -> ClaimedJob | None:
        """Take the job. While the database is away, the thread has nothing better to do than to wait for it."""
        while not self._stopping.is_set():
            try:
                return self._ledger.claim(
                    job_id, worker=self.worker, stages=list(self.served), lease_s=self._settings.lease_s
                )
            except DatabaseUnavailable:
                self._stopping.wait(1)
        raise Stopping(f"job {job_id} is left to another worker")

    def _run_stages(self, held: Held) -> str:
        """One stage after the other while the next is served here.

        The next stage begins while the checkpoint of the one before is being committed, and is void if it is not.
        """
        visited: list[str] = []
        before: Checkpoint | None = None
        while True:
            visited.append(held.stage.value)
            with about(stage=held.stage), stage_span(held.stage, self.served[held.stage].engine) as tell:
                outcome = self._run_stage(held)
                tell(outcome)
                _log(outcome)
            if before is not None:
                moved, written = self._record(held, before.stage, before.ran, before.written)
                if moved is None or moved.state is not JobState.RUNNING:
                    self._discard(outcome)
                    return self._report(visited[:-1], moved, written)
            following = self._following(held, outcome)
            if following is None:
                return self._report(visited, *self._record(held, held.stage, outcome))
            assert isinstance(outcome, Ran)
            before = Checkpoint(held.stage, outcome, self._ledger.begin(self._move(held, held.stage, outcome)))
            held.job.results[held.stage] = outcome.concluded.result
            held.go_on(following)

    def _following(self, held: Held, outcome: Ran | VoxqueueError) -> Stage | None:
        """The stage that this thread goes on with, if any."""
        if isinstance(outcome, VoxqueueError) or outcome.concluded.silence or self._stopping.is_set():
            return None
        later = later_stages(held.job, held.stage)
        return later[0] if later and later[0] in self.served else None

    def _report(self, visited: list[str], moved: Moved | None, outcome: Ran | VoxqueueError) -> str:
        """Say where a job waits now, and what Flower is to show. Raises `JobFailed`."""
        words = ", ".join(visited)
        if moved is None:
            return f"{words}: given up, the job is no longer held here"
        if moved.state is JobState.FAILED and isinstance(outcome, VoxqueueError):
            raise JobFailed(f"{words}: {outcome.title}: {outcome.detail}", outcome.title)
        if moved.state is not JobState.QUEUED:
            return f"{words}: {moved.state}"
        if moved.is_due:  # one that waits until later is the sweep's to send
            self._queue.hint([_hint(moved)])
        return f"{words}: queued for {moved.stage}"

    def _run_stage(self, held: Held) -> Ran | VoxqueueError:
        """Run the stage where the job stands. Suspects let others go first; those that have lost a worker take turns.

        One of the latter is written down as begun, and no other one is meanwhile: if this worker goes away as well, it
        is known which of them was being worked on, and those that only waited are not to blame.
        """
        if held.suspicion and not self._let_others_go_first(held):
            return NotBegun("The worker did not come to this job.")
        if not held.job.lost_leases:
            return self._run_step(held)
        while not self._suspect.acquire(timeout=_LOOK_S):
            if self._stopping.is_set() or held.lost:
                return NotBegun("The worker did not come to this job.")
        try:
            begins = lifecycle.begin(*held.claim, held.stage, lease_s=self._settings.lease_s)
            if self._stopping.is_set() or self._ledger.move(begins) is None:
                return NotBegun("The worker is shutting down, or holds the job no more.")
            return self._run_step(held)
        except VoxqueueError as error:
            return NotBegun(f"That the job begins could not be written down: {error.detail}")
        finally:
            self._suspect.release()

    def _let_others_go_first(self, held: Held) -> bool:
        """Wait until nobody is here who is less suspect, but not for ever. False if it comes to nothing.

        What hangs or dies once more then does it after they have ended.
        """
        give_up_at = time.monotonic() + _PATIENCE_S[Priority.LOW]
        while not self._stopping.wait(_LOOK_S) and not held.lost:  # who came at the same time is known by then
            if time.monotonic() > give_up_at or all(other.suspicion >= held.suspicion for other in self.held()):
                return True
        return False

    def _run_step(self, held: Held) -> Ran | VoxqueueError:
        """Prepare, ask, conclude."""
        step = self._steps[held.stage]
        try:
            request = step.prepare(held.job)
            answered = self.served[held.stage].ask(
                request,
                wanted=lambda: not held.lost,
                alone=held.suspicion > 0,
                patience_s=_PATIENCE_S[held.job.priority],
                on_progress=held.make_progress,
            )
            waited_s = max(0.0, answered.started_at - held.ready_at)
            concluded = step.conclude(held.job, answered.result)
            return Ran(answered, concluded, waited_s, ended_at=time.monotonic())
        except VoxqueueError as error:
            return error
        except BaseException as error:  # the panics of a runtime written in Rust are no Exceptions
            log.exception("unexpected error")
            return VoxqueueError(f"Unexpected {type(error).__name__} in stage {held.stage}; the worker's log has more.")

    def _record(
        self,
        held: Held,
        stage: Stage,
        outcome: Ran | VoxqueueError,
        begun: Callable[[], Moved | None] | None = None,
    ) -> tuple[Moved | None, Ran | VoxqueueError]:
        """Write down what became of a stage, and insist on it for as long as the lease can last.

        Args:
            held: The job.
            stage: Which stage.
            outcome: What became of it.
            begun: Waits for the first try, where that is under way already.

        Returns:
            The job as it stands now, or None if it is no longer ours and the result is void; and the outcome that was
            written down, which is an error if the result was refused.
        """
        give_up_at = time.monotonic() + self._settings.lease_s
        uncertain = False
        while True:
            if begun is None:
                begun = self._ledger.begin(self._move(held, stage, outcome))
            try:
                moved = begun()
            except DatabaseUnavailable:
                uncertain = True  # the connection may have broken after the commit
                if time.monotonic() > give_up_at:
                    log.warning("not written down, the database was away for too long")
                    return None, outcome
                begun = None
                time.sleep(0.5)
                continue
            except LedgerError as error:
                self._discard(outcome)
                if isinstance(outcome, LedgerError):
                    log.error("not even the failure could be written: %s", error.detail)
                    return None, outcome
                outcome, begun = error, None
                continue
            if moved is not None:
                self._measure(held, stage, outcome, moved)
            elif not uncertain:
                self._discard(outcome)
            return moved, outcome

    def _move(self, held: Held, stage: Stage, outcome: Ran | VoxqueueError) -> Move:
        """What follows a stage."""
        engine = self.served[stage].engine
        if isinstance(outcome, VoxqueueError):
            return after_error(held.job, stage, outcome, engine, self._settings)
        later = later_stages(held.job, stage)
        goes_on = bool(later) and later[0] in self.served and not self._stopping.is_set()
        return after_success(held.job, stage, outcome, engine, goes_on=goes_on, lease_s=self._settings.lease_s)

    def _measure(self, held: Held, stage: Stage, outcome: Ran | VoxqueueError, moved: Moved) -> None:
        engine = self.served[stage].engine.name
        if isinstance(outcome, Ran):
            run_s = outcome.answered.run_ms / 1000
            metrics.stage_succeeded(
                held.job.kind, stage, engine, waited_s=outcome.waited_s, run_s=run_s, age_s=moved.age_s
            )
        elif moved.state is JobState.FAILED:
            metrics.stage_failed(stage, engine)
        elif not isinstance(outcome, NotBegun):
            metrics.stage_retried(stage, outage=isinstance(outcome, Unavailable))

    def _discard(self, outcome: Ran | VoxqueueError) -> None:
        """Remove the blob of a result that is void."""
        if isinstance(outcome, VoxqueueError) or outcome.concluded.key is None:
            return
        try:
            self._store.delete([outcome.concluded.key])
        except VoxqueueError as error:
            log.warning("blob %s, which is void, was not removed: %s", outcome.concluded.key, error.detail)


def _log(outcome: Ran | VoxqueueError) -> None:
    """Say that a stage has failed; by its title, since what is wrong may quote what somebody said."""
    if isinstance(outcome, VoxqueueError) and not isinstance(outcome, NotBegun):
        log.warning("stage failed: %s", outcome.title)


def _hint(moved: Moved) -> Hint:
    return Hint(moved.job_id, moved.stage, moved.attempt, moved.priority)
