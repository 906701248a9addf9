"""Event streams: a job, all jobs of a tenant, the fleet. Each stays open until there is nothing more to tell."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from hashlib import blake2s
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from api.dependencies import READS_JOBS, Calling, IsKnown, JobId, Use
from api.following import follow
from api.lasting import while_allowed
from api.schemas.events import JobLineView
from api.schemas.jobs import JOBS_PATH, JobView
from api.schemas.problems import problems
from api.services import Services
from voxqueue.errors import NotFound
from voxqueue.jobs import repository
from voxqueue.keys.caller import Caller

router = APIRouter()

T = TypeVar("T")
Look = Callable[[], JobView | None]
LastEventId = Annotated[str | None, Header(description="The last `id` that was received: that state is not sent again")]


def _look(job_id: JobId, services: Use, caller: Calling) -> Look:
    """Looks at the job. Raises `NotFound` while that can still be said by a status."""

    def look() -> JobView | None:
        with services.transaction() as session:
            try:
                return JobView.of(repository.get(session, job_id, caller.tenant))
            except NotFound:
                return None

    with services.transaction() as session:
        repository.get(session, job_id, caller.tenant)
    return look


@router.get(
    f"{JOBS_PATH}/{{job_id}}/events",
    tags=["jobs"],
    response_class=EventSourceResponse,
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
) -> AsyncIterator[ServerSentEvent]:
    """The job as `GET` shows it, as an event `job`: now, at every change (at most twice a second), and at its end."""
    jobs = follow(services.watch, job_id, look, lambda job: job.state.is_terminal)
    async for job in _while_allowed(services, caller, jobs):
        event = _event("job", job)
        if event.id != last_event_id:
            yield event


@router.get(
    "/v1/events",
    tags=["jobs"],
    response_class=EventSourceResponse,
    responses=problems(503),
    dependencies=[READS_JOBS],
    summary="Follow all jobs",
)
async def follow_jobs(services: Use, caller: Calling) -> AsyncIterator[ServerSentEvent]:
    """An event `job` whenever one of your jobs has changed, with a line about it. What was missed is not repeated."""
    async for line in _while_allowed(services, caller, services.job_feed.follow(caller.tenant)):
        yield _event("job", JobLineView.model_validate(line, from_attributes=True))


@router.get(
    "/api/ready/stream", tags=["readiness"], response_class=EventSourceResponse, summary="Follow the fleet's readiness"
)
async def follow_fleet(services: Use, is_known: IsKnown) -> AsyncIterator[ServerSentEvent]:
    """What `GET /api/ready` answers, as an event `ready`: now, and whenever it changes."""
    async for report in services.fleet_feed.follow(briefly=not is_known):
        yield _event_of("ready", report)


def _while_allowed(services: Services, caller: Caller, told: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """What is told, for as long as the caller's key counts."""
    key_id = caller.key_id
    return told if key_id is None else while_allowed(told, lambda: services.keys.counts(key_id))


def _event(name: str, body: BaseModel) -> ServerSentEvent:
    return _event_of(name, body.model_dump_json())


def _event_of(name: str, text: str) -> ServerSentEvent:
    """An event whose id stands for what it says."""
    return ServerSentEvent(event=name, raw_data=text, id=blake2s(text.encode(), digest_size=8).hexdigest())
