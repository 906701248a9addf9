"""Lists the voices that can be asked for."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.answers import as_json
from api.dependencies import READS_JOBS, Use
from api.schemas.problems import problems
from api.schemas.submissions import Language
from api.schemas.voices import VoiceList

router = APIRouter(tags=["submit"])


@router.get(
    "/v1/voices",
    response_model=VoiceList,
    responses=problems(422, 503),
    dependencies=[READS_JOBS],
    summary="List voices",
)
def list_voices(
    services: Use,
    language: Annotated[Language | None, Query(description="Only voices that speak it, such as `de`")] = None,
) -> Response:
    """What `voice` can be: the voices of all workers that have text to speech warm.

    With `espeak`, a variant may follow a voice's name, as in `en-us+f3`; those are not listed.
    """
    return as_json(VoiceList.of(services.voices.get(), language))
