"""Stands before every route: who calls, may they, not too often, and is there room. Answers a refusal by itself.

A request's body is read only after this, whereas FastAPI would read it before the first dependency runs.
"""

from collections.abc import Collection, MutableMapping, Sequence
from dataclasses import dataclass, field

from fastapi.params import Security
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.admission import Ticket
from api.auth import identify
from api.body_limit import path_of
from api.idempotency import is_replay
from api.problems import problem
from api.services import Services
from voxqueue.errors import Forbidden, QueueFull, RateLimited, TooManyJobs, Unauthorized, VoxqueueError
from voxqueue.keys import caller as keys

PUBLIC = frozenset({"/", "/docs", "/openapi.json", "/livez", "/readyz", "/health", "/api/ready", "/api/ready/stream"})
"""Paths that anybody may ask for. Every other route declares its scope, as `api.dependencies` has them."""

_FILES_OF_PAGES = ("/web/", "/docs/files/")


def is_public(path: str) -> bool:
    return path in PUBLIC or path.startswith(_FILES_OF_PAGES)


def declared_scope(route: RouteContext) -> keys.Scope | None:
    """The scope that a route declares."""
    for dependency in getattr(route, "dependencies", None) or ():
        if isinstance(dependency, Security) and dependency.scopes:
            return keys.Scope(dependency.scopes[0])
    return None


@dataclass
class _Entry:
    """What has been found out of a request so far."""

    headers: MutableMapping[str, str] = field(default_factory=dict)
    ticket: Ticket | None = None


class Gate:
    """ASGI middleware. A POST to one of the paths `submits` needs room for one more job."""

    def __init__(self, app: ASGIApp, submits: Collection[str]) -> None:
        self.app = app
        self.submits = submits
        self._routes: Sequence[RouteContext] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or is_public(path_of(scope)):
            await self.app(scope, receive, send)
            return
        entry = _Entry()
        try:
            await run_in_threadpool(self._let_in, scope, entry)
        except VoxqueueError as error:
            challenge = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else {}
            # The server reads the body and drops it: closing now could cost the client our answer.
            await problem(error, scope["path"], {**entry.headers, **challenge})(scope, receive, send)
            return
        await self._serve(entry, scope, receive, send)

    async def _serve(self, entry: _Entry, scope: Scope, receive: Receive, send: Send) -> None:
        accepted = False

        async def told(message: Message) -> None:
            nonlocal accepted
            if message["type"] == "http.response.start":
                accepted = message["status"] == 202
                MutableHeaders(scope=message).update(entry.headers)
            await send(message)

        try:
            await self.app(scope, receive, told)
        finally:
            if entry.ticket is not None:
                entry.ticket.settle(accepted=accepted)

    def _let_in(self, scope: Scope, entry: _Entry) -> None:
        """Fill in the entry, and leave the caller where the routes find it; raises what the answer shall say."""
        connection = HTTPConnection(scope)
        services: Services = scope["app"].state.services
        caller = identify(connection, services.settings.api, services.keys)
        self._count(services, connection, caller, entry)
        needed = self._needed_scope(scope)
        if needed is not None and not caller.may(needed):
            raise Forbidden(
                f"This API key lacks the scope {needed}. Use one that has it: whoever runs this service makes it with "
                f"`voxqueue keys create --name NAME --scope {needed}`, and one --scope more for each further one.",
                scope=needed.value,
            )
        if scope.get("method") == "POST" and path_of(scope) in self.submits:
            entry.ticket = self._admit(services, caller, connection)
        connection.state.caller = caller

    @staticmethod
    def _admit(services: Services, caller: keys.Caller, connection: HTTPConnection) -> Ticket | None:
        """Leave to hand in one job. None: there is no room, and none is needed, since the job has been made before."""
        try:
            return services.admission.admit(caller)
        except (QueueFull, TooManyJobs):
            if not is_replay(services, caller, connection.headers):
                raise
            return None

    def _needed_scope(self, scope: Scope) -> keys.Scope | None:
        """What the route that is asked for needs. None: there is no such route, which is for the router to say."""
        self._routes = self._routes or tuple(iter_route_contexts(scope["app"].routes))
        for route in self._routes:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return declared_scope(route) or keys.Scope.ADMIN  # one that was forgotten is not open to everybody
        return None

    @staticmethod
    def _count(services: Services, connection: HTTPConnection, caller: keys.Caller, entry: _Entry) -> None:
        limit = services.rate_limit
        standing = limit.take(caller.key_id or (connection.client.host if connection.client else "unknown"))
        entry.headers.update(limit.headers(standing))
        if standing is not None and not standing.within:
            most, wait_s = services.settings.limits.requests, standing.more_in_s
            words = f"More requests than {most}. There is room again in {wait_s} s."
            raise RateLimited(words, retry_after=wait_s)
