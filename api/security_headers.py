"""What every answer tells a browser: take it for what it says it is, run nothing in it, keep nothing of it.

Our own, and small: `secure` sets the same headers on every answer, and ours depend on what the answer is.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NOTHING = "default-src 'none'; frame-ancestors 'none'"


class SecurityHeaders:
    """ASGI middleware. `cors`: whether pages of other origins may call, and so may show what they get."""

    def __init__(self, app: ASGIApp, *, cors: bool) -> None:
        self.app = app
        self.resource_policy = "cross-origin" if cors else "same-origin"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in security_headers(scope["path"], headers.get("content-type", "")).items():
                    headers.setdefault(name, value)
                headers.setdefault("Cross-Origin-Resource-Policy", self.resource_policy)
            await send(message)

        await self.app(scope, receive, told if scope["type"] == "http" else send)


def security_headers(path: str, media_type: str) -> dict[str, str]:
    """The headers of an answer that has not set them itself, but for the one that depends on CORS."""
    headers = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    if not media_type.startswith("audio/"):  # a browser's own player is subject to it, and would not play
        headers["Content-Security-Policy"] = _NOTHING
    if "/v1/" in path:
        headers["Cache-Control"] = "no-store"
    return headers
