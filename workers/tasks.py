"""The Celery tasks: a stage's hint, and requests for upkeep and delivery. What they do stands elsewhere."""

from collections.abc import Callable
from uuid import UUID

from celery import Celery
from celery.exceptions import Reject

from voxqueue.queue import DELIVERY_TASK, UPKEEP_TASK, task_name
from voxqueue.stages import Stage
from workers.runner import JobFailed, Runner, Stopping


def register_jobs(app: Celery, runner: Runner) -> None:
    """One task per stage, so that Flower shows where a job was taken up; each runs the job as far as it can."""
    for stage in Stage:

        @app.task(name=task_name(stage), throws=(JobFailed,))
        def run(job_id: str) -> str:
            try:
                return runner.run(UUID(job_id))
            except Stopping as error:
                raise Reject(str(error), requeue=True) from None


def register_upkeep(app: Celery, sweep: Callable[[], None], deliver: Callable[[], None]) -> None:
    """The courier's tasks: sweep now, deliver now. Whichever waits stands for a delivery, see `ask_for_delivery`."""

    @app.task(name=UPKEEP_TASK)
    def upkeep() -> None:
        sweep()
        deliver()

    @app.task(name=DELIVERY_TASK)
    def delivery() -> None:
        deliver()
