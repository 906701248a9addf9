"""Files that a browser gets as they are: kept in memory, and packed once. Knows nothing of what is in them."""

import gzip
from dataclasses import dataclass
from typing import Self

from starlette.requests import Request
from starlette.responses import Response

KEEP_FOR_GOOD = "public, max-age=31536000, immutable"
"""For what lies under an address with its version in it."""

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
