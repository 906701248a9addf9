"""What follows a stage: the move that writes down how it went. Decides, and touches nothing."""

import random
import time
from dataclasses import dataclass

from voxqueue.errors import NotBegun, Unavailable, VoxqueueError
from voxqueue.jobs import lifecycle
from voxqueue.jobs.lifecycle import ClaimedJob, Move, Outcome
from voxqueue.jobs.states import RunState
from voxqueue.settings import JobsSettings
from voxqueue.stages import Stage
from workers.engines.base import AnyEngine
from workers.serving import Answered
from workers.steps import Concluded

_OUTAGE_PAUSE_S = 10.0


@dataclass(frozen=True, slots=True)
class Ran:
    """A stage that has its result, which is not written down yet; `waited_s` is how long it waited for its engine.

    `ended_at` (of `time.monotonic`) is when it had its result.
    """

    answered: Answered
    concluded: Concluded
    waited_s: float
    ended_at: float


def later_stages(job: ClaimedJob, stage: Stage) -> tuple[Stage, ...]:
    """The stages after this one."""
    return job.kind.stages[job.kind.stages.index(stage) + 1 :]


def after_success(job: ClaimedJob, stage: Stage, ran: Ran, engine: AnyEngine, *, goes_on: bool, lease_s: float) -> Move:
    """The next stage, here if the worker `goes_on` or elsewhere; or the end."""
    answered, now = ran.answered, time.monotonic()
    outcome = Outcome(
        stage=stage,
        state=RunState.SUCCEEDED,
        engine=engine.name,
        model=engine.model,
        result=ran.concluded.result,
        run_ms=round(answered.run_ms, 3),
        started_ms_ago=(now - answered.started_at) * 1000,
        ms_ago=(now - ran.ended_at) * 1000,
        batch_size=answered.batch_size,
        degradations=answered.degradations,
    )
    later = later_stages(job, stage)
    if ran.concluded.silence:
        reason = ran.concluded.silence
        skipped = tuple(Outcome(stage=one, state=RunState.SKIPPED, reason=reason) for one in later)
        return lifecycle.succeed(job.id, job.attempt, outcome, skipped)
    if not later:
        return lifecycle.succeed(job.id, job.attempt, outcome)
    if goes_on:
        return lifecycle.proceed(job.id, job.attempt, outcome, later[0], lease_s=lease_s)
    return lifecycle.hand_over(job.id, job.attempt, outcome, later[0])


def after_error(job: ClaimedJob, stage: Stage, error: VoxqueueError, engine: AnyEngine, settings: JobsSettings) -> Move:
    """Back to the queue, now or later, or the end of the job."""
    if isinstance(error, NotBegun):
        return lifecycle.put_back(job.id, job.attempt)
    if isinstance(error, Unavailable):  # storage or a server is away: no fault of the job's, however long it lasts
        pause = (error.retry_after or 0.0) + random.uniform(0.5, 1.5) * _OUTAGE_PAUSE_S
        return lifecycle.try_again(job.id, job.attempt, stage, error.detail, due_in_s=pause, counts=False)
    failures = (job.failures if stage is job.stage else 0) + 1
    if error.retryable and failures < settings.max_tries:
        pause = min(settings.retry_delay_max_s, settings.retry_delay_s * 2 ** (failures - 1))
        pause *= random.uniform(0.75, 1.25)  # so that what failed together does not come back together
        return lifecycle.try_again(job.id, job.attempt, stage, error.detail, due_in_s=pause, counts=True)
    failed = Outcome(
        stage=stage,
        state=RunState.FAILED,
        engine=engine.name,
        model=engine.model,
        reason=error.detail,
        failed_try=True,
    )
    return lifecycle.fail(job.id, job.attempt, failed, {**error.as_problem(), "stage": stage.value})
