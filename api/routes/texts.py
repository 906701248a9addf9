"""Takes texts in."""

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.answers import accepted
from api.dependencies import Calling, Use, takes_json
from api.schemas.jobs import JobView
from api.schemas.problems import problems
from api.schemas.submissions import TextBody
from voxqueue.jobs import submission

PATH = "/v1/texts"

router = APIRouter(tags=["submit"])


@router.post(
    PATH,
    status_code=202,
    response_model=JobView,
    responses=problems(413, 415, 422, 503),
    dependencies=[Depends(takes_json)],
    summary="Send a text",
)
def submit_text(body: TextBody, services: Use, caller: Calling) -> Response:
    """Queue a job for a text. `Location` is where to follow the job."""
    wishes = body.wishes()
    submission.check(wishes, services.settings.limits, services.voices.may_know)
    with services.transaction() as session:
        job = submission.submit(session, caller, wishes)
    services.queue.hint([submission.hint(job)])
    return accepted(job)
