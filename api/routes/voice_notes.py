"""Takes voice notes in."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form
from starlette.responses import Response

from api.answers import accepted
from api.dependencies import Calling, Use, takes_form
from api.schemas.jobs import JobView
from api.schemas.problems import problems
from api.schemas.submissions import VoiceNoteForm
from voxqueue.jobs import submission
from voxqueue.notes import intake

PATH = "/v1/voice-notes"

router = APIRouter(tags=["submit"])


@router.post(
    PATH,
    status_code=202,
    response_model=JobView,
    responses=problems(413, 415, 422, 503),
    dependencies=[Depends(takes_form)],
    summary="Upload a voice note",
)
def submit_voice_note(form: Annotated[VoiceNoteForm, Form()], services: Use, caller: Calling) -> Response:
    """Store a recording and queue a job for it. `Location` is where to follow the job."""
    limits, store = services.settings.limits, services.store
    wishes = form.wishes()
    submission.check(wishes, limits, services.voices.may_know)
    note = intake.receive(form.file.file, file_name=form.file.filename, store=store, limits=limits)
    # The commit stands outside: if its outcome is unknown, the row may be there, and then it needs its recording.
    with services.transaction() as session, intake.kept_only_if_done(store, note):
        job = submission.submit(session, caller, wishes, note)
    services.queue.hint([submission.hint(job)])
    return accepted(job)
