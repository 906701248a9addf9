"""Refuses bodies that are too large, by their announced length before anything is read, else while they stream in.

Starlette's own limiter does the counting as well, but always answers a too large ``Content-Length`` in plain text.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from voxqueue.errors import BodyTooLarge

SMALL_BODY = 65_536


@dataclass(frozen=True, slots=True)
class Most:
    """How many bytes a body may have, and what is told of one that has more: a sentence for whoever sent it."""

    size: int
    refusal: str


_ELSEWHERE = Most(SMALL_BODY, f"The body is larger than the {SMALL_BODY:,} bytes allowed here.")


def path_of(scope: Scope) -> str:
    """The path within this app, which may stand under another path of its server's."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class BodyLimit:
    """ASGI middleware. `limits` has the most that a path takes; any other path takes `SMALL_BODY`."""

    def __init__(self, app: ASGIApp, limits: Mapping[str, Most]) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self.limits.get(path_of(scope), _ELSEWHERE)
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > most.size:
            # The server reads the rest of the body and drops it: closing now could cost the client our answer.
            await problem(BodyTooLarge(most.refusal), scope["path"])(scope, receive, send)
            return

        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > most.size:
                    # Of all errors, FastAPI's body parsing lets only these through.
                    raise HTTPException(413, most.refusal)
            return message

        await self.app(scope, counted, send)
