"""Files that a browser gets as they are: kept in memory, and packed once. Knows nothing of what is in them."""

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2s
from pathlib import Path
from typing import Self

from starlette.requests import Request
from starlette.responses import Response

from voxqueue.errors import NotFound

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file's bytes, as they are and packed."""

    body: bytes
    packed: bytes
    media_type: str

    @classmethod
    def of(cls, body: bytes, suffix: str) -> Self:
        """The file for a suffix such as ``.css``. Raises `KeyError` for one that we do not serve."""
        return cls(body, gzip.compress(body, mtime=0), _MEDIA_TYPES[suffix])

    def answer(self, request: Request, headers: dict[str, str]) -> Response:
        headers = {**headers, "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=self.media_type)
        return Response(self.body, headers=headers, media_type=self.media_type)


@dataclass(frozen=True, slots=True)
class Site:
    """A document and the files that it is made of. `version` changes with every one of them.

    The document is asked for anew each time. The version stands in the addresses of the files, so that browsers keep
    these for good, and no document is mixed of two versions.
    """

    version: str
    html: PackedFile
    files: dict[str, PackedFile]

    @classmethod
    def of(cls, files: Mapping[str, bytes], html: Callable[[str], str]) -> Self:
        """
        Args:
            files: Path to content.
            html: Writes the document for a version.
        """
        digest = blake2s(html("").encode(), digest_size=4)
        for name, body in files.items():
            digest.update(f"{name}\0{len(body)}\0".encode() + body)
        version = digest.hexdigest()
        packed = {name: PackedFile.of(body, Path(name).suffix) for name, body in files.items()}
        return cls(version, PackedFile.of(html(version).encode(), ".html"), packed)

    def show(self, request: Request, headers: dict[str, str]) -> Response:
        """The document, unless the browser has it."""
        etag = f'"{self.version}"'
        headers = {**headers, "ETag": etag, "Cache-Control": "no-cache"}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return self.html.answer(request, headers)

    def show_file(self, request: Request) -> Response:
        """The file of the path parameters ``version`` and ``name``.

        Raises:
            NotFound: There is none, or it is that of another version.
        """
        file = self.files.get(request.path_params["name"])
        if file is None or request.path_params["version"] != self.version:
            raise NotFound("There is no such file, or no longer. Reload the page.")
        return file.answer(request, {"Cache-Control": "public, max-age=31536000, immutable"})
