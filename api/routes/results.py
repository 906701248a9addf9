"""Hands out what the stages of a job have brought: its transcript and its speech."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.types import Message, Receive, Scope, Send

from api.answers import as_json
from api.dependencies import READS_JOBS, Calling, JobId, Use
from api.problems import problem
from api.schemas.jobs import JOBS_PATH, TranscriptView
from api.schemas.problems import problems
from voxqueue.audio import AudioFormat
from voxqueue.errors import NotFound, RangeNotSatisfiable, ResultNotReady
from voxqueue.jobs import repository
from voxqueue.jobs.models import Job, StageRun
from voxqueue.jobs.states import JobState, RunState
from voxqueue.notes import subtitles
from voxqueue.stages import Stage, SttResult
from voxqueue.storage import RemoteUrl

router = APIRouter(
    prefix=f"{JOBS_PATH}/{{job_id}}",
    tags=["results"],
    dependencies=[READS_JOBS],
)


class TranscriptFormat(StrEnum):
    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"


_WRITERS: dict[TranscriptFormat, tuple[str, Callable[[SttResult], str]]] = {
    TranscriptFormat.TEXT: ("text/plain", lambda transcript: transcript.text),
    TranscriptFormat.SRT: ("application/x-subrip", subtitles.srt),
    TranscriptFormat.VTT: ("text/vtt", subtitles.vtt),
}


# A HEAD is answered like the GET, by the same function; the server leaves the body out.
@router.head("/transcript", include_in_schema=False)
@router.get(
    "/transcript",
    response_model=TranscriptView,
    responses={
        200: {"content": {media_type: {"schema": {"type": "string"}} for media_type, _ in _WRITERS.values()}},
        **problems(404, 409, 422, 503),
    },
    summary="Fetch the transcript",
)
def show_transcript(
    job_id: JobId,
    services: Use,
    caller: Calling,
    as_format: Annotated[TranscriptFormat, Query(alias="format")] = TranscriptFormat.JSON,
) -> Response:
    """The transcript as JSON, as plain text, or as subtitles."""
    with services.reading() as session:
        result = _result(repository.get(session, job_id, caller.tenant), Stage.STT, "transcript")
    if as_format is TranscriptFormat.JSON:
        return as_json(TranscriptView.model_validate(result))
    media_type, write = _WRITERS[as_format]
    return Response(write(SttResult.from_json(result)), media_type=f"{media_type}; charset=utf-8")


@router.head("/audio", include_in_schema=False)
@router.get(
    "/audio",
    response_class=FileResponse,
    responses={
        200: {"description": "The speech", "content": {"audio/*": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "The part of it that `Range` asks for"},
        304: {"description": "It is what `If-None-Match` names"},
        307: {"description": "It lies in an object store, at `Location`"},
        **problems(404, 409, 416, 503),
    },
    summary="Fetch the speech",
)
def show_audio(
    request: Request,
    job_id: JobId,
    services: Use,
    caller: Calling,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The spoken reply as a file. Takes `Range` requests; with an object store, redirects there."""
    with services.reading() as session:
        result = _result(repository.get(session, job_id, caller.tenant), Stage.TTS, "speech")
    media_type, extension = result["media_type"], AudioFormat(result["format"]).extension
    etag, file_name = f'"{result["sha256"]}"', f"voxqueue-{job_id}.{extension}"
    if etag in (if_none_match or ""):
        return Response(status_code=304, headers={"ETag": etag})
    place = services.store.locate(
        result["key"], media_type=media_type, file_name=file_name, for_head=request.method == "HEAD"
    )
    if isinstance(place, RemoteUrl):
        return RedirectResponse(place.url, 307)
    return _AudioFile(place.path, headers={"ETag": etag}, media_type=media_type, filename=file_name)


def _result(job: Job, stage: Stage, name: str) -> dict[str, Any]:
    """What a stage has committed. Raises `ResultNotReady` if that may still come, else `NotFound`."""
    run = job.run_of(stage)
    if run is None:
        raise NotFound(f"A job of the kind {job.kind} has no {name}.")
    if run.state is RunState.SUCCEEDED and run.result is not None:
        return run.result
    if job.state.is_terminal:
        raise NotFound(f"The job has no {name}, and brings none any more: {_why_without(job, run)}.")
    raise ResultNotReady(f"The job has no {name} yet: its stage {stage} is {run.state}.", retry_after=1)


def _why_without(job: Job, run: StageRun) -> str:
    """Why a job that has ended has no result of a stage."""
    match run.state:
        case RunState.SKIPPED:
            return run.reason or f"its stage {run.stage} was skipped"
        case RunState.FAILED:
            return f"its stage {run.stage} has failed"
    ended = "was canceled" if job.state is JobState.CANCELED else f"has {job.state}"
    return f"it {ended} before its stage {run.stage} was done"


class _AudioFile(FileResponse):
    """Starlette's, but what is asked for in vain is a problem document, and units that nobody knows are ignored."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = False

        async def translated(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] in (400, 416):
                refused = True
                await _bad_range(scope, message)(scope, receive, send)
            elif not refused:
                await send(message)

        known = [header for header in scope["headers"] if header[0] != b"range" or header[1].startswith(b"bytes=")]
        await super().__call__({**scope, "headers": known}, receive, translated)


def _bad_range(scope: Scope, message: Message) -> Response:
    size = dict(message["headers"]).get(b"content-range")
    headers = {} if size is None else {"Content-Range": size.decode()}
    error = RangeNotSatisfiable("The Range header asks for no part of this file.")
    return problem(error, scope["path"], headers)
