"""Where names lead, asked when an address is registered: a private network is refused, and nobody waits for long."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from voxqueue.settings import WebhooksSettings
from voxqueue.webhooks import names
from voxqueue.webhooks.addresses import InvalidAddress
from voxqueue.webhooks.names import Names

pytestmark = pytest.mark.unit

URL = "https://hooks.example.com/x"
PUBLIC = WebhooksSettings()


class NameServer:
    """Answers every name with these addresses, and counts how often it was asked."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    def __call__(self, host: str, *_: object) -> list[Any]:
        self.asked.append(host)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in self.addresses]


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        ("10.1.2.3",),
        ("169.254.169.254",),
        ("::1",),
        ("fe80::1%eth0",),
        ("::ffff:127.0.0.1",),
        ("64:ff9b::a00:1",),
        ("8.8.8.8", "10.0.0.1"),
    ],
)
def test_a_name_that_leads_to_a_private_network_is_refused(addresses: tuple[str, ...]) -> None:
    with pytest.raises(InvalidAddress, match="name leads to a private or reserved network"):
        Names(PUBLIC, look_up=NameServer(*addresses)).check(URL)


@pytest.mark.parametrize("addresses", [("8.8.8.8",), ("8.8.8.8", "2001:4860:4860::8888"), ()])
def test_a_name_that_leads_to_the_public_or_nowhere_yet_is_taken(addresses: tuple[str, ...]) -> None:
    """A record may be made after the registration, and a name server that is away must not keep jobs out."""
    Names(PUBLIC, look_up=NameServer(*addresses)).check(URL)


def test_a_network_that_the_settings_allow_is_taken() -> None:
    allowed = WebhooksSettings(allow_networks=("10.1.0.0/16",))
    Names(allowed, look_up=NameServer("10.1.2.3")).check(URL)
    with pytest.raises(InvalidAddress):
        Names(allowed, look_up=NameServer("10.2.0.1")).check(URL)


def test_what_the_url_alone_tells_needs_no_name_server() -> None:
    server = NameServer("8.8.8.8")
    with pytest.raises(InvalidAddress, match="must begin with https://"):
        Names(PUBLIC, look_up=server).check("http://hooks.example.com/")
    assert server.asked == []


def test_a_name_is_asked_for_once_in_a_while() -> None:
    """Else every job with an address of its own would wait for the name servers."""
    server = NameServer("10.0.0.1")
    asking = Names(PUBLIC, look_up=server)
    for _ in range(3):
        with pytest.raises(InvalidAddress):
            asking.check(URL)
    assert server.asked == ["hooks.example.com"]


@pytest.fixture
def silence() -> Iterator[threading.Event]:
    """Name servers that do not answer until the end of the test."""
    over = threading.Event()
    yield over
    over.set()


def test_nobody_waits_for_name_servers_that_are_silent(
    silence: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "_DEADLINE_S", 0.05)
    asked: list[str] = []

    def look_up(host: str, *_: object) -> list[Any]:
        asked.append(host)
        silence.wait(20)
        return []

    asking = Names(PUBLIC, look_up=look_up)
    began = time.monotonic()
    for number in range(20):
        asking.check(f"https://hooks{number}.example.com/")
    assert not silence.is_set()
    assert time.monotonic() - began < 15, "they were waited for after all"
    assert len(asked) <= 8, "a thread for every name that a stranger makes up would use up the process"
