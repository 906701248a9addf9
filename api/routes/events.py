"""Event streams: a job, all jobs of a tenant, the fleet. Each stays open until there is nothing more to tell."""

from collections.abc import AsyncGenerator, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Header

from api.dependencies import READS_JOBS, Calling, IsKnown, JobId, Use
from api.following import follow
from api.lasting import EventStream, event_stream
from api.schemas.events import Event
from api.schemas.jobs import JOBS_PATH, JobView
from api.schemas.problems import problems
from api.services import Services
from voxqueue.errors import NotFound
from voxqueue.jobs import repository
from voxqueue.keys.caller import Caller

router = APIRouter()

Look = Callable[[], JobView | None]
LastEventId = Annotated[str | None, Header(description="The last `id` that was received: that state is not sent again")]


def _look(job_id: JobId, services: Use, caller: Calling) -> Look:
    """Looks at the job. Raises `NotFound` while that can still be said by a status."""

    def look() -> JobView | None:
        with services.reading() as session:
            try:
                return JobView.of(repository.get(session, job_id, caller.tenant))
            except NotFound:
                return None

    with services.reading() as session:
        repository.get(session, job_id, caller.tenant)
    return look


@router.get(
    f"{JOBS_PATH}/{{job_id}}/events",
    tags=["jobs"],
    response_class=EventStream,
    responses=problems(404, 503),
    dependencies=[READS_JOBS],
    summary="Follow a job",
)
async def follow_job(
    job_id: JobId,
    services: Use,
    caller: Calling,
    look: Annotated[Look, Depends(_look)],
    last_event_id: LastEventId = None,
) -> EventStream:
    """The job as `GET` shows it, as an event `job`: now, at every change (at most twice a second), and at its end."""

    async def told() -> AsyncGenerator[bytes]:
        received = last_event_id
        async for job in follow(services.watch, job_id, look, lambda job: job.state.is_terminal):
            shown = Event.of("job", job.model_dump_json())
            if shown.id != received:
                yield shown.wire
            received = shown.id

    return event_stream(told(), _counts(services, caller))


@router.get(
    "/v1/events",
    tags=["jobs"],
    response_class=EventStream,
    responses=problems(503),
    dependencies=[READS_JOBS],
    summary="Follow all jobs",
)
async def follow_jobs(services: Use, caller: Calling) -> EventStream:
    """An event `job` whenever one of your jobs has changed, with a line about it. What was missed is not repeated."""
    return event_stream(services.job_feed.follow(caller.tenant), _counts(services, caller))


@router.get("/api/ready/stream", tags=["readiness"], response_class=EventStream, summary="Follow the fleet's readiness")
async def follow_fleet(services: Use, is_known: IsKnown) -> EventStream:
    """What `GET /api/ready` answers, as an event `ready`: now, and whenever it changes."""

    async def told() -> AsyncGenerator[bytes]:
        async for report in services.fleet_feed.follow(briefly=not is_known):
            yield Event.of("ready", report).wire

    return event_stream(told())


def _counts(services: Services, caller: Caller) -> Callable[[], bool] | None:
    """Whether the caller's key still counts, where there is one."""
    key_id = caller.key_id
    return None if key_id is None else lambda: services.keys.counts(key_id)
