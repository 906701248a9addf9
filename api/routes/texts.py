"""Takes texts in."""

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.answers import accepted
from api.dependencies import WRITES_JOBS, Calling, Use, takes_json
from api.idempotency import SubmissionKey, released_if_failed, reserve
from api.schemas.jobs import JobView
from api.schemas.problems import problems
from api.schemas.submissions import TextBody
from voxqueue.jobs import idempotency, submission
from voxqueue.jobs.models import Job
from voxqueue.metrics import jobs as metrics

PATH = "/v1/texts"

router = APIRouter(tags=["submit"])


@router.post(
    PATH,
    status_code=202,
    response_model=JobView,
    responses=problems(409, 413, 415, 422, 503),
    dependencies=[WRITES_JOBS, Depends(takes_json)],
    summary="Send a text",
)
def submit_text(body: TextBody, services: Use, caller: Calling, key: SubmissionKey) -> Response:
    """Queue a job for a text. `Location` is where to follow the job."""
    wishes = body.wishes()
    reserved = reserve(services, caller, key, wishes)
    if isinstance(reserved, Job):
        return accepted(reserved, replayed=True)
    with released_if_failed(services, reserved):
        submission.check(wishes, services.settings.limits, services.voices.may_know, services.names.check)
        with services.transaction() as session:
            job = submission.submit(session, caller, wishes)
            idempotency.complete(session, reserved, job)
    metrics.submitted(job.kind)
    services.queue.hint([submission.hint(job)])
    return accepted(job)
