"""One hostile request as bytes, how it is sent, and the answer to it. Nothing here is a client that could mend it."""

import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Literal

CANARY = "canary-8f3b1c"
"""Stands in bodies and header fields, never in paths: it must show in no log."""

_PATIENCE_S = 30.0
_MOST_BYTES = 50_000_000

END = Literal["waits", "breaks off", "leaves"]

Header = tuple[bytes | str, bytes | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One request.

    Attributes:
        family: What kind of hostility it is.
        name: Tells it from the others of its family.
        target: The path, for what is said about it.
        invalid: The API's description does not allow it, so that no success may follow.
        end: Whether the client waits for the answer, first says that it sends no more, or leaves at once.
        http: Whether it is HTTP at all; what is not, the server refuses before the API sees it.
        told: Texts in it that must show in no log, besides the canary.
        statuses: What the description says may be answered; None where it says nothing of such requests.
    """

    family: str
    name: str
    method: str
    target: str
    data: bytes
    invalid: bool = False
    end: END = "waits"
    http: bool = True
    told: tuple[str, ...] = ()
    statuses: frozenset[int] | None = None

    def __str__(self) -> str:
        return f"{self.family}: {self.name} ({self.method} {self.target[:80]})"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `body` is empty for an event stream, which has no end."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]


def written(method: str, target: bytes | str, headers: Iterable[Header] = (), body: bytes | None = None) -> bytes:
    """A request on the wire. The length of a body is told unless the headers tell it; so is the host."""
    lines = [_bytes(method) + b" " + _bytes(target) + b" HTTP/1.1"]
    fields = [(_bytes(name), _bytes(value)) for name, value in headers]
    names = {name.lower() for name, _ in fields}
    if b"host" not in names:
        fields.insert(0, (b"Host", b"localhost"))
    if body is not None and not names & {b"content-length", b"transfer-encoding"}:
        fields.append((b"Content-Length", str(len(body)).encode()))
    lines += [name + b": " + value for name, value in fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def fire(address: tuple[str, int], shot: Shot) -> Answer | None:
    """Send it on a connection of its own; None where nothing came back.

    Raises `TimeoutError` if the server neither answers nor closes the connection.
    """
    with socket.create_connection(address, timeout=_PATIENCE_S) as connection:
        # A server that has heard enough may close; its answer can be there all the same.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(shot.data)
            if shot.end == "leaves":
                return None
            if shot.end == "breaks off":
                connection.shutdown(socket.SHUT_WR)
        with suppress(HTTPException, ConnectionError), HTTPResponse(connection, method=shot.method) as response:
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            streams = headers.get("content-type", "").startswith("text/event-stream")
            return Answer(response.status, headers, b"" if streams else response.read(_MOST_BYTES))
    return None
