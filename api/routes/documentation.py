"""Serves Swagger UI at `/docs` with files of our own: it works without the internet and under a strict policy."""

from dataclasses import dataclass
from functools import cache
from hashlib import blake2s
from importlib.resources import files
from pathlib import Path
from typing import Self

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.packed import KEEP_FOR_GOOD, PackedFile
from voxqueue.errors import NotFound

_OURS = Path(__file__).parents[1] / "documentation"
_THEIRS = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # its icons stand in its style sheet
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@dataclass(frozen=True, slots=True)
class _Documentation:
    version: str
    html: PackedFile
    files: dict[str, PackedFile]

    @classmethod
    def read(cls) -> Self:
        theirs = files("fastapi_swagger") / "resources"  # kept up to date with Swagger UI; we take its files alone
        found = {name: (theirs / name).read_bytes() for name in _THEIRS}
        found["start.js"] = (_OURS / "start.js").read_bytes()
        digest = blake2s(b"".join(found.values()), digest_size=8).hexdigest()
        # Relative, since the app may stand under another path.
        html = (_OURS / "index.html").read_text("utf-8").replace("{{version}}", digest)
        packed = {name: PackedFile.of(body, Path(name).suffix) for name, body in found.items()}
        return cls(digest, PackedFile.of(html.encode(), ".html"), packed)


@cache
def _served() -> _Documentation:
    """Read when it is first asked for: most processes are never asked."""
    return _Documentation.read()


def show_documentation(request: Request) -> Response:
    return _served().html.answer(request, {"Cache-Control": "no-cache", "Content-Security-Policy": _POLICY})


def show_file(request: Request) -> Response:
    """Raises `NotFound`, also for the files of another version."""
    served = _served()
    file = served.files.get(request.path_params["name"])
    if file is None or request.path_params["version"] != served.version:
        raise NotFound("There is no such file, or no longer. Reload the page.")
    return file.answer(request, {"Cache-Control": KEEP_FOR_GOOD})


# The framework's own, as those of the page: they are no part of the API, and no description of it mentions them.
ROUTES = (Route("/docs", show_documentation), Route("/docs/files/{version}/{name}", show_file))
