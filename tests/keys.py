"""API keys for tests: made in the database, sent along, and what is said where they do not do."""

import socket
from urllib.parse import urlsplit

import httpx

from tests import problems
from voxqueue.database.session import Sessions
from voxqueue.keys import repository
from voxqueue.keys.caller import Scope
from voxqueue.keys.keys import Key

TEXT = {"text": "Hello.", "kind": "reply"}


def make_key(
    sessions: Sessions, *scopes: Scope, tenant: str = "default", days: float | None = None, key: Key | None = None
) -> Key:
    """A key that is stored; with every scope unless told otherwise."""
    key = key or Key.new()
    with sessions.begin() as session:
        repository.add(session, key, name="test", tenant=tenant, scopes=scopes or tuple(Scope), days=days)
    return key


def bearer(key: Key | str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """The detail of the problem that the answer must be, with what a 401 has to say about keys."""
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    return problems.refused(answer, status, code)


def first_line(client: httpx.Client, authorization: str) -> str:
    """The first line of the answer to an upload whose client asks before it sends the body."""
    at = urlsplit(str(client.base_url))
    head = (
        "POST /v1/voice-notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Content-Length: 1000\r\nExpect: 100-continue\r\nAuthorization: {authorization}\r\n\r\n"
    )
    with socket.create_connection((at.hostname, at.port), timeout=10) as connection:
        connection.sendall(head.encode())
        return connection.recv(65_536).partition(b"\r\n")[0].decode()
