"""Where a POST goes, and where it must not go, whatever the name server says."""

import socket
from contextlib import suppress
from typing import Any

import pytest

from tests.receiver import Receiver, receiving
from tests.unit.outbound.posting import ELSEWHERE, HERE, PUBLIC, allowing, named, names, post
from tests.wire import Said
from workers.outbound import Outbound

pytestmark = pytest.mark.unit


def test_what_is_sent_is_what_was_given(receiver: Receiver) -> None:
    attempt = post(f"{receiver.url}/a;b?c=d#e", allowing(receiver.url))
    assert (attempt.status, attempt.error, attempt.succeeded) == (204, None, True)
    [came] = receiver.book
    assert came.body == b'{"a":1}'
    assert came.path == "/a;b"
    assert came.headers["host"] == receiver.url.removeprefix("http://")
    assert came.headers["content-type"] == "application/json"
    assert came.headers["content-length"] == "7"


def test_a_name_is_looked_up_once_and_that_answer_is_connected_to(receiver: Receiver) -> None:
    """A name server that turns elsewhere after the check must not turn the connection."""
    attempt = post(named(receiver.url), allowing(receiver.url), [HERE], [ELSEWHERE])
    assert attempt.status == 204
    assert receiver.book[0].headers["host"] == named(receiver.url).removeprefix("http://")


def test_a_name_that_turns_elsewhere_is_refused_the_next_time(receiver: Receiver) -> None:
    elsewhere: list[socket.socket] = []
    port = int(receiver.url.rpartition(":")[2])
    with socket.create_server((ELSEWHERE, port)) as victim:
        victim.setblocking(False)
        outbound = Outbound(allowing(receiver.url), look_up=names([HERE], [ELSEWHERE]))
        first, second = (outbound.post(named(receiver.url), {}, b"{}") for _ in range(2))
        with suppress(BlockingIOError):
            elsewhere.append(victim.accept()[0])
    assert first.status == 204
    assert second.status is None
    assert second.error is not None
    assert "private or reserved network" in second.error
    assert ELSEWHERE not in second.error, "what our own names lead to is nobody's business"
    assert elsewhere == []


@pytest.mark.parametrize("answer", [[HERE, "10.0.0.1"], ["10.0.0.1", HERE], ["::ffff:10.0.0.1", HERE]])
def test_a_name_with_one_good_and_one_private_address_is_refused(receiver: Receiver, answer: list[str]) -> None:
    attempt = post(named(receiver.url), allowing(receiver.url), answer)
    assert attempt.error is not None
    assert "private or reserved network" in attempt.error
    assert receiver.book == []


def test_the_second_address_of_a_name_is_tried_when_the_first_takes_nothing(receiver: Receiver) -> None:
    attempt = post(named(receiver.url), allowing(receiver.url, "127.0.0.0/8"), [ELSEWHERE, HERE])
    assert attempt.status == 204


def test_a_name_that_is_not_known_is_told() -> None:
    def fail(*_: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    attempt = Outbound(PUBLIC, look_up=fail).post("https://hooks.example.com/", {}, b"{}")
    assert attempt.error == "The host's name is not known: no address was found for it."


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(receiver: Receiver, status: int) -> None:
    with receiving(lambda _: Said(status, headers={"Location": f"{receiver.url}/secret"})) as first:
        attempt = post(first.url, allowing(first.url))
    assert attempt.status == status
    assert not attempt.succeeded
    assert attempt.error is not None
    assert "redirects" in attempt.error
    assert receiver.book == []


def test_no_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert post(receiver.url, allowing(receiver.url)).status == 204
