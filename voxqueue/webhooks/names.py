"""Where the name in a caller's address leads, asked when the address is given, so that a wrong one is refused at once.

No more than a courtesy: a name may lead elsewhere a moment later, and whoever connects asks again by the same policy.
"""

import socket
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from urllib.parse import urlsplit

from cachetools import TTLCache
from ssrfguard import Resolver

from voxqueue.settings import WebhooksSettings
from voxqueue.webhooks.addresses import InvalidAddress, check_url, policy

_DEADLINE_S = 1.0
_FRESH_S = 30.0
_MOST = 1_000
_AT_ONCE = 8  # asked for; the name servers may be slow, and nobody waits for them here

_ASTRAY = "has a host whose name leads to a private or reserved network, which is not called"


class Names:
    """Asks name servers, from many threads at once, and remembers for a while what they said.

    Args:
        settings: Which addresses may be called.
        look_up: What asks the name servers, as `socket.getaddrinfo` does.
    """

    def __init__(self, settings: WebhooksSettings, *, look_up: Resolver = socket.getaddrinfo) -> None:
        self._settings = settings
        self._look_up = look_up
        self._room = threading.Semaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._known: TTLCache[str, bool] = TTLCache(_MOST, _FRESH_S)

    def check(self, url: str) -> None:
        """Raise `InvalidAddress` for a URL that must not be called, or whose name leads where nobody may be called.

        A name that nobody knows passes, and so does one that is not found within a second: it may be made later, and a
        name server that is away must not keep jobs out. The delivery tells of it.
        """
        check_url(url, self._settings)
        host = urlsplit(url).hostname or ""
        with self._lock:
            known = self._known.get(host)
        if known is None:
            known = self._ask(host)
        if known:
            raise InvalidAddress(_ASTRAY)

    def _ask(self, host: str) -> bool:
        """Whether the name leads astray, as far as it can be learnt now."""
        if not self._room.acquire(blocking=False):
            return False
        found: Future[bool] = Future()
        # Not in a pool: at the end, Python would wait for its threads, and the system's own deadline is long.
        threading.Thread(target=self._find, args=(host, found), name="names", daemon=True).start()
        try:
            return found.result(_DEADLINE_S)
        except FutureTimeout:
            return False

    def _find(self, host: str, found: "Future[bool]") -> None:
        astray = False
        try:
            allowed = policy(self._settings)
            answers = self._look_up(host, 443, 0, socket.SOCK_STREAM)
            astray = any(not allowed.permits_address(str(answer[4][0]).partition("%")[0]) for answer in answers)
        except (OSError, ValueError):  # nobody knows the name, or no resolver takes it
            pass
        finally:
            with self._lock:
                self._known[host] = astray
            self._room.release()
            found.set_result(astray)
