"""Serves the page at `/` and the files that it is made of. Knows nothing of what the page does."""

from dataclasses import dataclass
from functools import cache
from hashlib import blake2s
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.packed import KEEP_FOR_GOOD, PackedFile
from voxqueue.errors import NotFound
from voxqueue.settings import S3Settings

_FOLDER = Path(__file__).parents[1] / "web"


@dataclass(frozen=True, slots=True)
class Page:
    """The page as this process serves it. `version` changes with every file."""

    version: str
    html: PackedFile
    files: dict[str, PackedFile]

    @classmethod
    def read(cls, folder: Path = _FOLDER) -> Self:
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}
        digest = blake2s(digest_size=8)
        for name, body in found.items():
            digest.update(f"{name}\0{len(body)}\0".encode() + body)
        # Relative, since the app may stand under another path. The version in it lets browsers keep files for good.
        place = f"web/{digest.hexdigest()}"
        # All modules at once: a browser would else find them one import after the other.
        modules = "".join(f'<link rel="modulepreload" href="{place}/{it}">' for it in found if it.endswith(".js"))
        html = found.pop("index.html").decode().replace("<!-- modules -->", modules).replace("{{web}}", place)
        files = {name: PackedFile.of(body, Path(name).suffix) for name, body in found.items()}
        return cls(digest.hexdigest(), PackedFile.of(html.encode(), ".html"), files)


@cache
def served() -> Page:
    """The files as they were when they were first asked for."""
    return Page.read()


def show_page(request: Request) -> Response:
    """The page itself is asked for anew each time; what it is made of is not."""
    page = served()
    etag = f'"{page.version}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _policy(request.app.state.services.settings.s3),
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    }
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return page.html.answer(request, headers)


def show_file(request: Request) -> Response:
    """Raises `NotFound`, also for the files of another version: a page must not be mixed of two."""
    page = served()
    file = page.files.get(request.path_params["name"])
    if file is None or request.path_params["version"] != page.version:
        raise NotFound("There is no such file, or no longer. Reload the page.")
    return file.answer(request, {"Cache-Control": KEEP_FOR_GOOD})


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
