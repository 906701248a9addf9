"""Answers probes: is this process alive, can it accept jobs, is the fleet warm, and how long did that take before."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.answers import as_json
from api.dependencies import ADMINISTERS, IsKnown, Use
from api.fleet_report import Told
from api.schemas.problems import problems
from api.schemas.readiness import Alive, Dependency, Health, ProcessReadiness, StartHistory, StartsView, StartView
from api.services import Services
from voxqueue.errors import Unavailable
from voxqueue.fleet import FleetBrief, FleetReport, Requirement, history
from voxqueue.stages import Stage

router = APIRouter(tags=["readiness"])

_TRY_AGAIN = {"Retry-After": "2"}
_LATEST = 20


@router.head("/livez", include_in_schema=False)
@router.get("/livez", response_model=Alive, summary="Is this process alive?")
async def livez() -> Response:
    """Depends on nothing: a restart would not mend a database."""
    return as_json(Alive())


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    response_model=ProcessReadiness,
    responses={503: {"model": ProcessReadiness, "description": "It cannot; try again after `Retry-After`"}},
    summary="Can this process accept jobs?",
)
def readyz(services: Use) -> Response:
    """Jobs can be accepted while Redis is away: they are stored, and start when it is back."""
    body = _process_readiness(services)
    return as_json(body) if body.ready else as_json(body, 503, _TRY_AGAIN)


@router.head("/health", include_in_schema=False)
@router.get(
    "/health",
    response_model=Health,
    responses={503: {"model": Health, "description": "It cannot; try again after `Retry-After`"}},
    summary="Can this process accept jobs, in a word?",
)
def health(services: Use) -> Response:
    """For load balancers. It checks what `/readyz` checks, and does not tell what is missing. `/livez` checks nothing,
    and `/api/ready` is about the workers: while none is warm, jobs are accepted all the same.
    """
    if _process_readiness(services).ready:
        return as_json(Health(status="ok"))
    return as_json(Health(status="unavailable"), 503, _TRY_AGAIN)


@router.head("/api/ready", include_in_schema=False)
@router.get(
    "/api/ready",
    response_model=FleetReport | FleetBrief,
    responses={
        **problems(422),
        503: {"model": FleetReport | FleetBrief, "description": "Not yet; try again after `Retry-After`"},
    },
    summary="Is the fleet warm?",
)
async def fleet_ready(
    services: Use,
    is_known: IsKnown,
    stage: Annotated[Stage | None, Query(description="Ask for this stage alone")] = None,
    min_warm: Annotated[
        int | None, Query(ge=1, le=1000, description="Warm workers that each stage asked for must have")
    ] = None,
) -> Response:
    """200 when every stage asked for has enough workers whose models are loaded and warmed.

    Where keys are required, whoever sends none that counts gets the short form. Everybody who asks within a quarter of
    a second gets the same answer.
    """
    is_usual = stage is None and min_warm is None
    requirement = None if is_usual else Requirement.of(services.settings.ready, stage, min_warm)
    told = await services.fleet_reports.latest(requirement)
    return _shown(told, is_known, HTTPStatus.OK if told.report.ready else HTTPStatus.SERVICE_UNAVAILABLE)


@router.post(
    "/api/ready/warmup",
    status_code=202,
    response_model=FleetReport,
    responses=problems(503),
    dependencies=[ADMINISTERS],
    summary="Try failed engines again",
)
async def warm_again(services: Use) -> Response:
    """Workers try engines that could not be warmed again by themselves, every 15 s; this has them do so now."""
    try:
        await run_in_threadpool(services.fleet.ask_for_warmup)
    except RedisError as error:
        raise Unavailable("Redis does not answer, so no worker can be asked.", retry_after=2) from error
    return _shown(await services.fleet_reports.latest(), True, HTTPStatus.ACCEPTED)


@router.get(
    "/api/ready/history",
    response_model=StartHistory,
    responses=problems(503),
    dependencies=[ADMINISTERS],
    summary="How long did it take to be warm?",
)
def start_history(services: Use) -> Response:
    """What earlier starts took, from which the `eta_s` of `GET /api/ready` is made."""
    with services.transaction() as session:
        starts = [StartsView.of(found) for found in history.summaries(session)]
        latest = [StartView.model_validate(start) for start in history.latest(session, _LATEST)]
    return as_json(StartHistory(starts=starts, latest=latest))


def _shown(told: Told, is_known: bool, status: HTTPStatus) -> Response:
    headers = _TRY_AGAIN if status is HTTPStatus.SERVICE_UNAVAILABLE else None
    return Response(told.whole if is_known else told.brief, status, headers, "application/json")


def _process_readiness(services: Services) -> ProcessReadiness:
    database = _tried(services.check_database)
    storage = _tried(services.store.check)
    redis = _tried(services.fleet.check, required=False)
    return ProcessReadiness(ready=database.ready and storage.ready, database=database, storage=storage, redis=redis)


def _tried(check: Callable[[], None], *, required: bool = True) -> Dependency:
    try:
        check()
    except Unavailable as error:
        return Dependency(ready=False, required=required, error=error.detail)
    except RedisError:
        return Dependency(ready=False, required=required, error="Redis does not answer.")
    return Dependency(ready=True, required=required)
