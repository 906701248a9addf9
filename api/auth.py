"""Finds out who sends a request: the key that came with it, or nobody's where the API asks for none.

Knows neither routes nor answers. A key is never logged, nor told in an error.
"""

import threading
from dataclasses import replace
from urllib.parse import urlsplit

from cachetools import TTLCache
from starlette.requests import HTTPConnection

from voxqueue.database.session import Sessions, database_errors
from voxqueue.errors import Forbidden, Unauthorized
from voxqueue.keys import repository
from voxqueue.keys.caller import ANYBODY, Caller
from voxqueue.keys.keys import Key
from voxqueue.keys.loopback import is_loopback
from voxqueue.keys.repository import KeyState, StoredKey
from voxqueue.settings import ApiSettings

_SEND_ONE = "Send one as `Authorization: Bearer vq_...`; whoever runs this API makes it with `voxqueue keys create`."
_CLOSED = (
    "This API asks for no keys, and so it answers this machine only. To call it from elsewhere, run it with "
    "VOXQUEUE_API_KEYS=required and make a key with `voxqueue keys create`."
)


class KnownKeys:
    """The keys of this process's callers, each looked up again after a few seconds.

    So a key that is revoked stops working within `FRESH_S` seconds, and a new one works at once unless it was tried
    before it was there.
    """

    FRESH_S = 3.0
    MOST = 10_000

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._lock = threading.Lock()
        self._found: TTLCache[str, StoredKey | None] = TTLCache(self.MOST, self.FRESH_S)

    def caller(self, token: str) -> Caller:
        """Whose key this is. Raises `Unauthorized`, or `DatabaseUnavailable`."""
        key = Key.parse(token)
        stored = None if key is None else self._stored(key.id)
        if key is None or stored is None or not key.matches(stored.secret_hash):
            raise Unauthorized(f"There is no such API key. {_SEND_ONE}")
        if stored.state is not KeyState.VALID:
            raise Unauthorized(f"This API key is {stored.state}. {_SEND_ONE}")
        if not stored.used_lately:
            self._note_use(stored)
        return stored.caller

    def counts(self, key_id: str) -> bool:
        """Whether a key that was let in before still counts. Raises `DatabaseUnavailable`."""
        stored = self._stored(key_id)
        return stored is not None and stored.state is KeyState.VALID

    def _stored(self, key_id: str) -> StoredKey | None:
        with self._lock:
            if key_id in self._found:
                return self._found[key_id]
        # Not under the lock: a slow database must not queue everybody up.
        with database_errors(), self._sessions() as session:
            stored = repository.find(session, key_id)
        with self._lock:
            self._found[key_id] = stored
        return stored

    def _note_use(self, stored: StoredKey) -> None:
        key_id = stored.caller.key_id
        assert key_id is not None
        with database_errors(), self._sessions.begin() as session:
            repository.note_use(session, key_id)
        with self._lock:
            if self._found.get(key_id) is stored:
                self._found[key_id] = replace(stored, used_lately=True)


def identify(connection: HTTPConnection, settings: ApiSettings, keys: KnownKeys) -> Caller:
    """Who sends this request. May ask the database, and so belongs into a thread.

    Raises:
        Unauthorized: A key is needed, and none that counts has come.
        Forbidden: The API asks for no keys, and the request has not come from this machine.
        DatabaseUnavailable: Nobody can say.
    """
    if settings.keys == "open":
        if not _is_from_here(connection, settings.cors_origins):
            raise Forbidden(_CLOSED)
        return ANYBODY
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized(f"An API key is needed. {_SEND_ONE}")
    return keys.caller(token.strip())


def _is_from_here(connection: HTTPConnection, origins: tuple[str, ...]) -> bool:
    """Whether a request was made on this machine, and not by a stranger's page in a browser that runs here.

    A page can have its own name resolve to 127.0.0.1, which the Host header shows, or post a form to us, which the
    Origin header shows.
    """
    server = connection.scope.get("server")
    origin = connection.headers.get("origin")
    asked_for = connection.headers.get("host", "")
    return (
        server is not None
        and is_loopback(server[0])
        and (not asked_for or is_loopback(_host_in(f"//{asked_for}")))
        and (origin is None or origin in origins or "*" in origins or is_loopback(_host_in(origin)))
    )


def _host_in(address: str) -> str:
    """The host that an address names; empty where it names none, or is no address."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
