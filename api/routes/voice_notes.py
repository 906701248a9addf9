"""Takes voice notes in."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form
from starlette.responses import Response

from api.answers import accepted
from api.dependencies import WRITES_JOBS, Calling, Use, takes_form
from api.forms import FormRoute
from api.idempotency import SubmissionKey, released_if_failed, reserve
from api.schemas.jobs import JobView
from api.schemas.problems import problems
from api.schemas.submissions import VoiceNoteForm
from voxqueue.jobs import idempotency, submission
from voxqueue.jobs.models import Job
from voxqueue.metrics import jobs as metrics
from voxqueue.notes import intake

PATH = "/v1/voice-notes"

router = APIRouter(tags=["submit"], route_class=FormRoute)


@router.post(
    PATH,
    status_code=202,
    response_model=JobView,
    responses=problems(409, 413, 415, 422, 503),
    dependencies=[WRITES_JOBS, Depends(takes_form)],
    summary="Upload a voice note",
)
def submit_voice_note(
    form: Annotated[VoiceNoteForm, Form(media_type="multipart/form-data")],
    services: Use,
    caller: Calling,
    key: SubmissionKey,
) -> Response:
    """Store a recording and queue a job for it. `Location` is where to follow the job."""
    limits, store = services.settings.limits, services.store
    wishes = form.wishes()
    reserved = reserve(services, caller, key, wishes, form.file.file)
    if isinstance(reserved, Job):
        return accepted(reserved, replayed=True)
    with released_if_failed(services, reserved):
        submission.check(wishes, limits, services.voices.may_know, services.names.check)
        note = intake.receive(
            form.file.file, file_name=form.file.filename, examiner=services.examiner, store=store, limits=limits
        )
        # The commit stands outside: if its outcome is unknown, the row may be there, and then it needs its recording.
        with services.transaction() as session, intake.kept_only_if_done(store, note):
            job = submission.submit(session, caller, wishes, note)
            idempotency.complete(session, reserved, job)
    metrics.submitted(job.kind)
    services.queue.hint([submission.hint(job)])
    return accepted(job)
