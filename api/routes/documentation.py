"""Serves Swagger UI at `/docs` with files of our own: it works without the internet and under a strict policy."""

from functools import cache
from importlib.resources import files
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.packed import Site

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


@cache
def _site() -> Site:
    """Read when it is first asked for: most processes are never asked."""
    theirs = files("fastapi_swagger") / "resources"  # kept up to date with Swagger UI; we take its files alone
    found = {name: (theirs / name).read_bytes() for name in _THEIRS}
    found["start.js"] = (_OURS / "start.js").read_bytes()
    html = (_OURS / "index.html").read_text("utf-8")
    return Site.of(found, lambda version: html.replace("{{version}}", version))


def show_documentation(request: Request) -> Response:
    return _site().show(request, {"Content-Security-Policy": _POLICY})


def show_file(request: Request) -> Response:
    return _site().show_file(request)


# The framework's own, as those of the page: they are no part of the API, and no description of it mentions them.
ROUTES = (Route("/docs", show_documentation), Route("/docs/files/{version}/{name}", show_file))
