"""Serves the page at `/` and the files that it is made of. Knows nothing of what the page does."""

from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.packed import Site
from voxqueue.settings import S3Settings

_FOLDER = Path(__file__).parents[1] / "web"


def read(folder: Path = _FOLDER) -> Site:
    """The page and its files as they are now."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}
    html = found.pop("index.html").decode()

    def written(version: str) -> str:
        place = f"web/{version}"  # relative, since the app may stand under another path
        # All modules at once: a browser would else find them one import after the other.
        imported = [name for name in found if name.endswith(".js") and name != "js/main.js"]
        modules = "".join(f'<link rel="modulepreload" href="{place}/{name}">' for name in imported)
        return html.replace("<!-- modules -->", modules).replace("{{web}}", place)

    return Site.of(found, written)


@cache
def _site() -> Site:
    """The files as they were when they were first asked for."""
    return read()


def show_page(request: Request) -> Response:
    headers = {
        "Content-Security-Policy": _policy(request.app.state.services.settings.s3),
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    }
    return _site().show(request, headers)


def show_file(request: Request) -> Response:
    return _site().show_file(request)


# The framework's own, not FastAPI's: these are no part of the API, and no description of it mentions them.
ROUTES = (Route("/", show_page), Route("/web/{version}/{name:path}", show_file))


def _policy(s3: S3Settings) -> str:
    """What the page may load: nothing but our own files, and speech from where the API redirects to."""
    store = _store_of(s3)
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            f"connect-src 'self'{store}",
            f"media-src 'self' blob:{store}",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


def _store_of(s3: S3Settings) -> str:
    """The origins of presigned addresses, with the bucket before the host or after it."""
    if s3.bucket is None:
        return ""
    address = urlsplit(s3.public_endpoint_url or s3.endpoint_url or "https://amazonaws.com")
    return f" {address.scheme}://{address.netloc} {address.scheme}://*.{address.netloc}"
