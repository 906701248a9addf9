"""Answers probes: is this process alive, can it accept jobs, is the fleet warm."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from redis.exceptions import RedisError
from starlette.responses import Response

from api.answers import as_json
from api.dependencies import ADMINISTERS, Use
from api.fleet_report import fleet_report
from api.schemas.problems import problems
from api.schemas.readiness import Alive, Dependency, ProcessReadiness
from voxqueue.errors import Unavailable
from voxqueue.fleet import FleetReport, Requirement
from voxqueue.stages import Stage

router = APIRouter(tags=["readiness"])

_TRY_AGAIN = {"Retry-After": "2"}


@router.get("/livez", response_model=Alive, summary="Is this process alive?")
async def livez() -> Response:
    """Depends on nothing: a restart would not mend a database."""
    return as_json(Alive())


@router.get(
    "/readyz",
    response_model=ProcessReadiness,
    responses={503: {"model": ProcessReadiness, "description": "It cannot; try again after `Retry-After`"}},
    summary="Can this process accept jobs?",
)
def readyz(services: Use) -> Response:
    """Jobs can be accepted while Redis is away: they are stored, and start when it is back."""
    database = _tried(services.check_database)
    storage = _tried(services.store.check)
    redis = _tried(services.fleet.check, required=False)
    ready = database.ready and storage.ready
    body = ProcessReadiness(ready=ready, database=database, storage=storage, redis=redis)
    return as_json(body) if ready else as_json(body, 503, _TRY_AGAIN)


@router.get(
    "/api/ready",
    response_model=FleetReport,
    responses={**problems(422), 503: {"model": FleetReport, "description": "Not yet; try again after `Retry-After`"}},
    summary="Is the fleet warm?",
)
def fleet_ready(
    services: Use,
    stage: Annotated[Stage | None, Query(description="Ask for this stage alone")] = None,
    min_warm: Annotated[
        int | None, Query(ge=1, le=1000, description="Warm workers that each stage asked for must have")
    ] = None,
) -> Response:
    """200 when every stage asked for has enough workers whose models are loaded and warmed."""
    requirement = Requirement.of(services.settings.ready, stage, min_warm)
    report = fleet_report(services.fleet, services.queues, requirement)
    return as_json(report) if report.ready else as_json(report, 503, _TRY_AGAIN)


@router.post(
    "/api/ready/warmup",
    status_code=202,
    response_model=FleetReport,
    responses=problems(503),
    dependencies=[ADMINISTERS],
    summary="Try failed engines again",
)
def warm_again(services: Use) -> Response:
    """Workers try engines that could not be warmed again by themselves, every 15 s; this has them do so now."""
    try:
        services.fleet.ask_for_warmup()
    except RedisError as error:
        raise Unavailable("Redis does not answer, so no worker can be asked.", retry_after=2) from error
    return as_json(fleet_report(services.fleet, services.queues, Requirement.of(services.settings.ready)), 202)


def _tried(check: Callable[[], None], *, required: bool = True) -> Dependency:
    try:
        check()
    except Unavailable as error:
        return Dependency(ready=False, required=required, error=error.detail)
    except RedisError:
        return Dependency(ready=False, required=required, error="Redis does not answer.")
    return Dependency(ready=True, required=required)
