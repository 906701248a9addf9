"""Shows, lists, cancels, retries and deletes jobs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from api import cursors
from api.answers import accepted, as_json, shown
from api.dependencies import READS_JOBS, WRITES_JOBS, Calling, JobId, Use, Waited
from api.schemas.jobs import JOBS_PATH, JobPage, JobView
from api.schemas.problems import problems
from voxqueue.errors import JobFinished, JobNotEnded
from voxqueue.jobs import lifecycle, repository, submission
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.states import JobState
from voxqueue.metrics import jobs as metrics

router = APIRouter(prefix=JOBS_PATH, tags=["jobs"])


@router.get(
    "/{job_id}",
    response_model=JobView,
    responses=problems(404, 503),
    dependencies=[READS_JOBS],
    summary="Show a job",
)
def show_job(job_id: JobId, services: Use, caller: Calling, waited: Waited) -> Response:
    """Where the job stands and what it has brought so far. `Prefer: wait=N` waits for it to finish."""
    with services.reading() as session:
        job = repository.get(session, job_id, caller.tenant)
    return shown(job, {} if waited is None else {"Preference-Applied": f"wait={waited}"})


@router.get(
    "",
    response_model=JobPage,
    responses=problems(422, 503),
    dependencies=[READS_JOBS],
    summary="List jobs",
)
def list_jobs(
    services: Use,
    caller: Calling,
    limit: Annotated[int, Query(ge=1, le=100, description="Most jobs on the page")] = 20,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
    state: Annotated[JobState | None, Query(description="Only jobs in this state")] = None,
    kind: Annotated[Kind | None, Query(description="Only jobs of this kind")] = None,
) -> Response:
    """Jobs from the newest on, page by page."""
    after = cursors.read(cursor, lambda place: UUID(bytes=place))
    with services.transaction() as session:
        found = repository.page(session, caller.tenant, limit=limit + 1, after=after, state=state, kind=kind)
    jobs = found[:limit]
    next_cursor = cursors.write(jobs[-1].id.bytes) if len(found) > limit else None
    return as_json(JobPage(jobs=[JobView.of(job) for job in jobs], next_cursor=next_cursor))


@router.post(
    "/{job_id}/cancel",
    response_model=JobView,
    responses=problems(404, 409, 503),
    dependencies=[WRITES_JOBS],
    summary="Cancel a job",
)
def cancel_job(job_id: JobId, services: Use, caller: Calling) -> Response:
    """End a job that has not finished. What it has brought so far stays."""
    with services.transaction() as session:
        [canceled] = lifecycle.move(session.connection(), [lifecycle.cancel(job_id, caller.tenant)])
        job = repository.get(session, job_id, caller.tenant)
        if canceled is None:
            raise JobFinished(f"The job has already {_ended(job.state)}; there is nothing to cancel.")
    metrics.moved(canceled)
    services.announcer.announce(job_id, JobState.CANCELED)
    if canceled.owes:
        services.queue.ask_for_delivery()
    return shown(job)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    response_model=JobView,
    responses=problems(404, 409, 503),
    dependencies=[WRITES_JOBS],
    summary="Try a job again",
)
def retry_job(job_id: JobId, services: Use, caller: Calling) -> Response:
    """Queue a job that has failed or been canceled once more. The stages that it has finished are not repeated."""
    with services.transaction() as session:
        [retried] = lifecycle.move(session.connection(), [lifecycle.retry(job_id, caller.tenant)])
        job = repository.get(session, job_id, caller.tenant)
        if retried is None:
            raise JobNotEnded(_not_to_retry(job.state))
    services.announcer.announce(job_id, JobState.QUEUED)
    services.queue.hint([submission.hint(job)])
    return accepted(job)


@router.delete(
    "/{job_id}",
    status_code=204,
    responses=problems(404, 503),
    dependencies=[WRITES_JOBS],
    summary="Delete a job",
)
def delete_job(job_id: JobId, services: Use, caller: Calling) -> Response:
    """Remove a job in any state, its recording and its results."""
    with services.transaction() as session:
        repository.remove(session, repository.get(session, job_id, caller.tenant, lock=True))
    services.announcer.announce(job_id, JobState.CANCELED)
    services.queue.ask_for_upkeep()
    return Response(status_code=204)


def _ended(state: JobState) -> str:
    return "been canceled" if state is JobState.CANCELED else state.value


def _not_to_retry(state: JobState) -> str:
    if state is JobState.SUCCEEDED:
        return "The job has succeeded, so there is nothing to try again. To have it done once more, submit it anew."
    return f"The job is still {state.value}; only one that has failed or been canceled can be tried again."
