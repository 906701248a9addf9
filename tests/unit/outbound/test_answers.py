"""That nobody who answers a POST can hold it up or make it swallow much."""

import gzip
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.receiver import Receiver, receiving
from tests.unit.outbound.posting import HERE, allowing, named, names, post, talking
from tests.wire import Said
from workers.outbound import Outbound

pytestmark = pytest.mark.unit


def test_the_beginning_of_an_answer_is_kept_and_can_be_stored() -> None:
    words = "ü\0" * 3_000
    with receiving(lambda _: Said(500, words.encode(), {"Retry-After": "7"})) as receiver:
        attempt = post(receiver.url, allowing(receiver.url))
    assert (attempt.status, attempt.retry_after) == (500, "7")
    assert attempt.answer == "ü" * 1_000
    assert attempt.error is None


def test_an_answer_that_is_no_text_is_kept_as_far_as_it_goes() -> None:
    with receiving(lambda _: Said(200, b"\xff\xfe\x00ok")) as receiver:
        attempt = post(receiver.url, allowing(receiver.url))
    assert attempt.succeeded
    assert attempt.answer is not None
    assert attempt.answer.endswith("ok")


def test_a_compressed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(200_000_000), compresslevel=1)
    with receiving(lambda _: Said(200, bomb, {"Content-Encoding": "gzip"})) as receiver:
        attempt = post(receiver.url, allowing(receiver.url))
        assert receiver.book[0].headers["accept-encoding"] == "identity"
    assert attempt.succeeded
    assert attempt.answer is None


def endless(line: socket.socket, head: bytes, part: bytes) -> int:
    """Send without end; how many bytes went out until nobody took them any more."""
    line.recv(65_536)
    line.sendall(head)
    sent = 0
    with suppress(OSError):
        while sent < 500_000_000:
            sent += line.send(part)
    return sent


def test_of_a_huge_answer_only_the_beginning_is_read() -> None:
    sent: list[int] = []
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n"
    with talking(lambda line: sent.append(endless(line, head, b"a" * 65_536))) as url:
        attempt = post(url, allowing(url))
    assert attempt.succeeded, "it has said 200, and what else it says does not matter"
    assert attempt.answer == "a" * 1_000
    assert sent[0] < 50_000_000, "it was cut off, and what the kernel holds is all that was lost"


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 1_000 + b"\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"a" * 1_000 + b"\r\na\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 1_000),
        (b"", b"a" * 1_000),
    ],
    ids=["headers", "interim answers", "chunks", "one header", "no HTTP"],
)
def test_an_answer_whose_frame_has_no_end_is_cut_off(head: bytes, part: bytes) -> None:
    sent: list[int] = []
    with talking(lambda line: sent.append(endless(line, head, part))) as url:
        attempt = post(url, allowing(url))
    assert not attempt.succeeded
    assert attempt.error
    assert sent[0] < 50_000_000


def drip(head: bytes, part: bytes) -> Callable[[socket.socket], None]:
    """Say something often enough that nobody who waits for the next bytes alone would ever give up. For an hour."""

    def talk(line: socket.socket) -> None:
        line.settimeout(0.05)
        line.sendall(head)
        for _ in range(72_000):
            with suppress(TimeoutError):
                if not line.recv(65_536):
                    return
            line.sendall(part)

    return talk


@pytest.mark.parametrize(
    ("talk", "status"),
    [
        (drip(b"", b""), None),
        (drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"), None),
        (drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"a"), 200),
        (drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"), 200),
        (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), None),
    ],
    ids=["silence", "headers", "body", "chunks", "interim answers"],
)
def test_an_answer_that_drips_for_an_hour_ends_at_the_deadline(
    talk: Callable[[socket.socket], None], status: int | None
) -> None:
    with talking(talk) as url:
        attempt = post(url, allowing(url, timeout_s=0.5))
    assert attempt.status == status
    assert attempt.error == "It did not answer completely within 0.5 s."
    assert not attempt.succeeded, "a receiver that has not answered to the end has not taken it"


def test_a_handshake_that_never_comes_ends_at_the_deadline() -> None:
    with talking(drip(b"", b"")) as url:
        attempt = post(url.replace("http:", "https:"), allowing(url, timeout_s=0.5))
    assert attempt.error == "It did not answer completely within 0.5 s."


def test_a_host_that_takes_no_connection_ends_at_the_deadline() -> None:
    with socket.create_server((HERE, 0), backlog=0) as full:
        url = f"http://{HERE}:{full.getsockname()[1]}"
        lines = [socket.socket() for _ in range(4)]
        for line in lines:  # until the kernel lets nobody in any more
            line.setblocking(False)
            line.connect_ex(full.getsockname())
        attempt = post(url, allowing(url, timeout_s=0.5))
        for line in lines:
            line.close()
    assert attempt.error == "It did not answer completely within 0.5 s."


def test_after_a_lookup_that_took_too_long_nothing_is_sent(receiver: Receiver) -> None:
    late = threading.Event()

    def slow(host: str, port: int, *_: object) -> list[Any]:
        late.wait(0.3)
        return names([HERE])(host, port)

    outbound = Outbound(allowing(receiver.url, timeout_s=0.2), look_up=slow)
    attempt = outbound.post(named(receiver.url), {}, b"{}")
    assert attempt.error == "It did not answer completely within 0.2 s."
    assert receiver.book == []


def close(line: socket.socket) -> None:
    line.recv(65_536)


def break_off(line: socket.socket) -> None:
    line.recv(65_536)
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")


@pytest.mark.parametrize(("talk", "status"), [(close, None), (break_off, 200)])
def test_a_connection_that_breaks_is_a_failure(talk: Callable[[socket.socket], None], status: int | None) -> None:
    with talking(talk) as url:
        attempt = post(url, allowing(url))
    assert attempt.status == status
    assert attempt.error
    assert not attempt.succeeded


def test_a_port_where_nobody_listens_is_told() -> None:
    with socket.create_server((HERE, 0)) as server:
        url = f"http://{HERE}:{server.getsockname()[1]}"
    assert post(url, allowing(url)).error == "It does not take the connection."
