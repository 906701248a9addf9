"""Sends a POST to an address that somebody else has chosen: to the address that was checked and to no other, within a
deadline, reading little. Knows nothing of events, rows or signatures.

Redirects are not followed, no proxy is used, and nothing is decompressed.
"""

import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx
from ssrfguard import BlockedAddressError, Policy, Resolver
from ssrfguard.httpx import SafeBackend

from voxqueue.settings import WebhooksSettings
from voxqueue.webhooks.addresses import InvalidAddress, check_url, policy
from voxqueue.webhooks.schedule import Attempt

_MOST_BYTES = 65_536  # of an answer's body
_MOST_READ = 2 * _MOST_BYTES  # of all that comes in, headers and framing included
_ANSWER_CHARS = 1_000
_PORTS = {"https": 443, "http": 80}


class Outbound:
    """Sends POSTs, from many threads at once.

    Args:
        settings: Which addresses may be called, and how long one attempt may take.
        look_up: What asks the name servers, as `socket.getaddrinfo` does.
        tls: What certificates are trusted; by default those of certifi, or what SSL_CERT_FILE names.

    Raises:
        MisconfiguredError: A setting says what makes no sense.
    """

    def __init__(
        self,
        settings: WebhooksSettings,
        *,
        look_up: Resolver = socket.getaddrinfo,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._policy = policy(settings)
        self._look_up = look_up
        self._tls = httpx.create_ssl_context() if tls is None else tls

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """Send once, over a connection of its own; what went wrong is told by the attempt.

        It takes at most the deadline of the settings, unless asking for the name takes longer: the system bounds that,
        and nothing is sent after the deadline.
        """
        began = time.monotonic()
        until = began + self._settings.timeout_s
        told: dict[str, Any] = {}
        try:
            self._exchange(url, headers, body, until, told)
        except Exception as error:
            if (reason := _reason(error, self._settings.timeout_s)) is None:
                raise
            told["error"] = reason
        return Attempt(duration_ms=(time.monotonic() - began) * 1000, **told)

    def _exchange(self, url: str, headers: Mapping[str, str], body: bytes, until: float, told: dict[str, Any]) -> None:
        """Send and read, and write down what comes as it comes: an answer may break off."""
        check_url(url, self._settings)
        split = urlsplit(url)
        host, port = split.hostname or "", split.port or _PORTS[split.scheme]
        answers = list(self._look_up(host, port, 0, socket.SOCK_STREAM))
        target = (split.path or "/") + (f"?{split.query}" if split.query else "")
        sent = [("Host", split.netloc), ("Accept-Encoding", "identity"), ("Connection", "close"), *headers.items()]
        with (
            httpcore.HTTPConnection(
                httpcore.Origin(split.scheme.encode(), host.encode(), port),
                ssl_context=self._tls,
                network_backend=_Line(self._policy, answers, until),
            ) as connection,
            connection.stream(
                "POST",
                httpcore.URL(scheme=split.scheme, host=host, port=port, target=target),
                headers=sent,
                content=body,
            ) as response,
        ):
            told["status"] = response.status
            named = {name.lower(): value for name, value in response.headers}
            told["retry_after"] = _text(named.get(b"retry-after"))
            if 300 <= response.status < 400:
                told["error"] = "It redirects, which is not followed: register the address that it redirects to."
            begun = bytearray()
            for part in response.iter_stream():
                begun += part
                if b"content-encoding" not in named:
                    told["answer"] = _text(bytes(begun[: 4 * _ANSWER_CHARS]))
                if len(begun) >= _MOST_BYTES:
                    break


class _Line(SafeBackend):
    """Connects to one of the addresses that a name has led to, each checked first, and keeps to the deadline."""

    def __init__(self, allowed: Policy, answers: list[Any], until: float) -> None:
        super().__init__(policy=allowed, resolver=lambda *_: answers)
        self._tries = max(1, min(len(answers), allowed.max_connection_attempts))
        self._until = until

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        each_s = _left(self._until) / self._tries
        return _Timed(super().connect_tcp(host, port, each_s, local_address, socket_options), self._until)


class _Timed(httpcore.NetworkStream):
    """A stream that ends at the deadline, however slowly it trickles, and when too much has come."""

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self._stream = stream
        self._until = until
        self._read = 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._read >= _MOST_READ:
            raise httpcore.ReadError("too much")
        came = self._stream.read(max_bytes, _left(self._until))
        self._read += len(came)
        return came

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._until))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, _left(self._until)), self._until)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(until: float) -> float:
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise httpcore.ReadTimeout("the deadline is over")
    return left_s


def _text(value: bytes | None) -> str | None:
    """What Postgres can keep of an answer."""
    return None if value is None else value.decode(errors="replace").replace("\0", "")[:_ANSWER_CHARS]


def _reason(error: Exception, timeout_s: float) -> str | None:
    """What to tell the receiver's owner; None for an error that is ours. Tells nothing about networks of our own."""
    if isinstance(error, InvalidAddress):
        return f"The address {error}."
    if isinstance(error, BlockedAddressError):
        return "The host's name leads to a private or reserved network, which is not called."
    if isinstance(error, socket.gaierror | UnicodeError):
        return "The host's name is not known: no address was found for it."
    if isinstance(error, httpcore.TimeoutException):
        return f"It did not answer completely within {timeout_s:g} s."
    if isinstance(error, httpcore.ConnectError):
        trouble = error.__cause__ or error.__context__
        if isinstance(trouble, ssl.SSLError):
            return f"TLS failed: {getattr(trouble, 'verify_message', None) or trouble.reason or 'it broke off'}."
        return "It does not take the connection."
    if isinstance(error, httpcore.ProtocolError):
        return "What it answered is not HTTP."
    return "The connection broke, or too much was answered." if isinstance(error, httpcore.NetworkError) else None
