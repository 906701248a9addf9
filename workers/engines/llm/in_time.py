"""Answers over HTTP that come in time as a whole, however often a server says meanwhile that it is still there.

Knows HTTP, and no protocol over it. Imported only where an engine is loaded: the library comes with that engine's.
"""

import time
from collections.abc import Callable, Iterator

import httpx2

_LATE_AT = "late_at"


def in_time(timeout_s: float) -> dict[str, list[Callable[..., None]]]:
    """The event hooks of a client whose requests take no longer than this, in seconds, from first to last byte.

    An answer that does is broken off with a `ReadTimeout` when its next part comes, or the client's own timeout does.
    """

    def begin(request: httpx2.Request) -> None:
        request.extensions[_LATE_AT] = time.monotonic() + timeout_s

    def bound(response: httpx2.Response) -> None:
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _Parts(response.stream, response.request.extensions[_LATE_AT])

    return {"request": [begin], "response": [bound]}


class _Parts(httpx2.SyncByteStream):
    """What comes of an answer, as it comes."""

    def __init__(self, parts: httpx2.SyncByteStream, late_at: float) -> None:
        self._parts = parts
        self._late_at = late_at

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            if time.monotonic() > self._late_at:
                raise httpx2.ReadTimeout("The answer is not finished in time.")
            yield part

    def close(self) -> None:
        self._parts.close()
