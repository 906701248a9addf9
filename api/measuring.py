"""Measures requests: how many, how long until their answers begin, which streams are open, which jobs were refused.

Stands before everything else, so that what others refuse counts as well.
"""

import time
from collections.abc import Collection, Sequence

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.body_limit import path_of
from api.problems import problem_code
from voxqueue.metrics import requests as metrics

_NOWHERE = "none"  # the route of what is asked for where nothing is


class Measuring:
    """ASGI middleware. A POST to one of the paths `submits` hands in a job."""

    def __init__(self, app: ASGIApp, submits: Collection[str]) -> None:
        self.app = app
        self.submits = submits
        self._routes: Sequence[RouteContext] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, waited, status, stream = time.monotonic(), 0.0, 0, None

        async def heard() -> Message:
            nonlocal waited
            asked = time.monotonic()
            message = await receive()
            waited += time.monotonic() - asked
            return message

        async def told(message: Message) -> None:
            nonlocal status, stream
            if message["type"] == "http.response.start":
                status = message["status"]
                route = self._note(scope, status, began, waited)
                if Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream"):
                    stream = route
                    metrics.stream_opened(route)
            await send(message)

        try:
            await self.app(scope, heard, told)
        except Exception:
            if not status:  # the answer is sent from outside of all middleware
                self._note(scope, 500, began, waited)
            raise
        finally:
            if stream is not None:
                metrics.stream_closed(stream)

    def _note(self, scope: Scope, status: int, began: float, waited: float) -> str:
        """Write down how a request went, and name its route."""
        took, method = time.monotonic() - began, scope["method"]
        route = self._route_of(scope)
        metrics.answered(method, route, status, took)
        if method == "POST" and path_of(scope) in self.submits:
            if status == 202:
                metrics.accepted(route, max(0.0, took - waited))
            else:
                metrics.refused(route, status, problem_code(scope) or "internal-error")
        return route

    def _route_of(self, scope: Scope) -> str:
        """The template of the address. Who was refused before has not come to a route, and so it is looked for here."""
        if (found := getattr(scope.get("route"), "path", None)) is not None:
            return str(found)
        self._routes = self._routes or tuple(iter_route_contexts(scope["app"].routes))
        matches = [(route.matches(scope)[0], route.path) for route in self._routes]
        best = max(matches, key=lambda match: match[0].value)  # full, partial where only the method is wrong, none
        return _NOWHERE if best[0] is Match.NONE else best[1] or _NOWHERE
