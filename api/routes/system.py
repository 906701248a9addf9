"""Answers what runs here: versions, devices, memory and limits, for operators."""

import os

from fastapi import APIRouter
from starlette.responses import Response

from api.answers import as_json
from api.dependencies import ADMINISTERS, Use
from api.schemas.readiness import SystemInfo
from voxqueue import __version__, machine

router = APIRouter(tags=["readiness"], dependencies=[ADMINISTERS])


@router.get("/api/system/info", response_model=SystemInfo, summary="What runs here?")
def system_info(services: Use) -> Response:
    """Versions, memory and limits of the process that answers, and what each worker says of itself."""
    info = SystemInfo(
        version=__version__,
        versions=machine.versions(),
        pid=os.getpid(),
        machine=machine.look(),
        limits=services.settings.limits,
        workers=services.operations.workers(),
    )
    return as_json(info)
