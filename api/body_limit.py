"""Refuses bodies that are too large, by their announced length before anything is read, else while they stream in.

Starlette's own limiter does the counting as well, but always answers a too large ``Content-Length`` in plain text.
"""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from voxqueue.errors import BodyTooLarge

SMALL_BODY = 65_536


def path_of(scope: Scope) -> str:
    """The path within this app, which may stand under another path of its server's."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class BodyLimit:
    """ASGI middleware. `limits` has the most bytes by path; any other path takes `SMALL_BODY`."""

    def __init__(self, app: ASGIApp, limits: Mapping[str, int]) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limits.get(path_of(scope), SMALL_BODY)
        words = f"The body is larger than the {limit:,} bytes allowed here."
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            # The server reads the rest of the body and drops it: closing now could cost the client our answer.
            await problem(BodyTooLarge(words), scope["path"])(scope, receive, send)
            return

        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    raise HTTPException(413, words)  # of all errors, FastAPI's body parsing lets only these through
            return message

        await self.app(scope, counted, send)
