"""What routes ask for. Coroutines where nothing blocks: FastAPI would send a plain function through a thread."""

import re
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Path, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from api.auth import identify
from api.services import Services
from voxqueue.errors import (
    DatabaseUnavailable,
    Forbidden,
    InvalidRequest,
    NotFound,
    Unauthorized,
    WrongMediaType,
)
from voxqueue.jobs import repository
from voxqueue.jobs.states import OPEN_STATES
from voxqueue.keys.caller import Caller, Scope

_ECHO_CHARS = 50  # of what a caller sent, in a message about it
_MOST_FAULTS = 10
_WAIT = re.compile(r"""\s*wait\s*=\s*("?)(\d{1,9})\1\s*(;.*)?""", re.IGNORECASE | re.ASCII)


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Use = Annotated[Services, Depends(_services)]


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller  # left there by the gate
    return caller


Calling = Annotated[Caller, Depends(_caller)]


async def _is_known(request: Request, services: Use) -> bool:
    """Whether somebody who may see everything asks for a path at which the gate lets everybody in."""
    settings = services.settings.api
    try:
        if settings.keys == "open":
            identify(request, settings, services.keys)
        elif "authorization" in request.headers:
            await run_in_threadpool(identify, request, settings, services.keys)
        else:
            return False
    except (Unauthorized, Forbidden, DatabaseUnavailable):
        return False
    return True


IsKnown = Annotated[bool, Depends(_is_known)]

_BEARER = HTTPBearer(
    scheme_name="API key",
    bearerFormat="vq_...",
    description="A key that `voxqueue keys create` has made",
    auto_error=False,
)


def _needs(scope: Scope) -> Any:
    return Security(_BEARER, scopes=[scope.value])


# What a route, or its router, declares among its dependencies, so that the gate asks callers for the scope.
READS_JOBS = _needs(Scope.JOBS_READ)
WRITES_JOBS = _needs(Scope.JOBS_WRITE)
MANAGES_WEBHOOKS = _needs(Scope.WEBHOOKS)
ADMINISTERS = _needs(Scope.ADMIN)


def known_id(text: str, thing: str) -> UUID:
    """The id that a path names. Raises `NotFound` for what is none."""
    try:
        found = UUID(text)
    except ValueError:
        found = None
    if found is None or str(found) != text.lower():  # UUID() also reads braces, prefixes and missing dashes
        raise NotFound(f"There is no {thing} {text[:_ECHO_CHARS]}.")
    return found


async def _job_id(job_id: Annotated[str, Path(description="The job's id")]) -> UUID:
    return known_id(job_id, "job")


JobId = Annotated[UUID, Depends(_job_id)]


def wait_preference(prefer: list[str]) -> int | None:
    """The seconds of the first ``wait`` in the Prefer headers (RFC 7240); None without one that makes sense."""
    for preference in ",".join(prefer).split(","):
        if match := _WAIT.fullmatch(preference):
            return int(match[2])
    return None


async def _waited(
    request: Request,
    job_id: JobId,
    services: Use,
    caller: Calling,
    prefer: Annotated[
        list[str] | None,
        Header(description="`wait=N` answers when the job has finished, at the latest after N seconds"),
    ] = None,
) -> int | None:
    """Wait as long as the caller prefers; the seconds that were granted, or None if none were asked for."""
    wanted = wait_preference(prefer or [])
    if wanted is None:
        return None
    seconds = min(wanted, services.settings.limits.wait_seconds)

    def is_over() -> bool:
        with services.reading() as session:
            return repository.state_of(session, job_id, caller.tenant) not in OPEN_STATES

    await services.watch.wait(job_id, seconds=seconds, is_over=is_over, has_left=request.is_disconnected)
    return seconds


Waited = Annotated[int | None, Depends(_waited)]


async def knows_its_query(request: Request) -> None:
    """Refuse query parameters that the route has not: of a misspelt filter the framework would list everything.

    Raises `InvalidRequest`.
    """
    if request.scope["query_string"]:
        known = _query_of(request.scope["route"])
        words = f"is not a query parameter here; known is {', '.join(known) or 'none'}"
        if unknown := [(name[:_ECHO_CHARS], words) for name in request.query_params if name not in known]:
            raise InvalidRequest.of(*unknown[:_MOST_FAULTS])


def _query_of(route: APIRoute) -> tuple[str, ...]:
    """The query parameters that a route and what it depends on have."""

    def walk(dependant: Dependant) -> Iterator[str]:
        yield from (field.alias for field in dependant.query_params)
        for inner in dependant.dependencies:
            yield from walk(inner)

    return tuple(dict.fromkeys(walk(route.dependant)))


async def takes_json(request: Request) -> None:
    """Refuse any other body. Raises `WrongMediaType`."""
    _expect(request, "application/json")


async def takes_form(request: Request) -> None:
    """Refuse any other body, and fields that come twice, of which the framework would drop one in silence.

    Raises `WrongMediaType` or `InvalidRequest`.
    """
    _expect(request, "multipart/form-data")
    form = await request.form()  # parsed before, and remembered
    faults = [(name, "is given more than once") for name in form if len(form.getlist(name)) > 1]
    if "file" in form and not isinstance(form["file"], UploadFile):
        faults.append(("file", "must be a file; give the part a file name"))
    if faults:
        raise InvalidRequest.of(*faults)


def _expect(request: Request, media_type: str) -> None:
    sent = request.headers.get("content-type", "")
    if sent.partition(";")[0].strip().lower() != media_type:
        raise WrongMediaType(f"The body must be {media_type}.")
