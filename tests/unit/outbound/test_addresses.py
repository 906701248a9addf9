"""Which addresses are refused and which allowed, before anybody looks them up."""

from typing import Any

import pytest

from tests.unit.outbound.posting import PUBLIC
from voxqueue.errors import MisconfiguredError
from voxqueue.settings import WebhooksSettings
from voxqueue.webhooks.addresses import InvalidAddress, check_url
from workers.outbound import Outbound

pytestmark = pytest.mark.unit

PRIVATE = "leads to a private or reserved network"
ODD = "odd spelling of an IP address"
UNWRITTEN = "holds a character that no URL has"
LOCAL = "must name a public host"
MALFORMED = "not a valid name or address"

REFUSED = [
    # IPv4 in every spelling
    ("https://127.0.0.1/", PRIVATE),
    ("https://127.0.0.1:8443/", PRIVATE),
    ("https://127.255.255.254/", PRIVATE),
    ("https://2130706433/", ODD),
    ("https://017700000001/", ODD),
    ("https://0x7f000001/", ODD),
    ("https://0X7F000001/", ODD),
    ("https://0177.0.0.1/", ODD),
    ("https://0x7f.0.0.1/", ODD),
    ("https://127.0.0.0x1/", ODD),
    ("https://127.0.0.0x/", ODD),
    ("https://127.1/", ODD),
    ("https://127.0.1/", ODD),
    ("https://0/", ODD),
    ("https://127.0.0.1./", ODD),
    ("https://2130706433./", ODD),
    ("https://1.2.3.4.5/", ODD),
    ("https://256.256.256.256/", ODD),
    ("https://①②⑦.⓪.⓪.①/", UNWRITTEN),
    ("https://１２７.0.0.1/", UNWRITTEN),
    ("https://127。0。0。1/", UNWRITTEN),
    ("https://127.0.0.1%2f@example.com/", "user name"),
    # private, local and reserved IPv4
    ("https://10.0.0.1/", PRIVATE),
    ("https://172.16.0.1/", PRIVATE),
    ("https://172.31.255.255/", PRIVATE),
    ("https://192.168.1.1/", PRIVATE),
    ("https://100.64.0.1/", PRIVATE),
    ("https://100.127.255.255/", PRIVATE),
    ("https://169.254.1.1/", PRIVATE),
    ("https://0.0.0.0/", PRIVATE),
    ("https://0.1.2.3/", PRIVATE),
    ("https://192.0.0.8/", PRIVATE),
    ("https://192.0.0.9/", PRIVATE),
    ("https://192.0.0.10/", PRIVATE),
    ("https://192.0.2.1/", PRIVATE),
    ("https://192.88.99.1/", PRIVATE),
    ("https://198.18.0.1/", PRIVATE),
    ("https://198.51.100.1/", PRIVATE),
    ("https://203.0.113.1/", PRIVATE),
    ("https://224.0.0.1/", PRIVATE),
    ("https://239.255.255.250/", PRIVATE),
    ("https://240.0.0.1/", PRIVATE),
    ("https://255.255.255.255/", PRIVATE),
    # what clouds tell their machines
    ("https://169.254.169.254/latest/meta-data/", PRIVATE),
    ("https://169.254.170.2/", PRIVATE),
    ("https://100.100.100.200/", PRIVATE),
    ("https://192.0.0.192/", PRIVATE),
    ("https://168.63.129.16/", PRIVATE),
    ("https://[fd00:ec2::254]/", PRIVATE),
    ("https://[::ffff:168.63.129.16]/", PRIVATE),
    ("https://[64:ff9b::a9fe:a9fe]/", PRIVATE),
    # IPv6
    ("https://[::]/", PRIVATE),
    ("https://[::1]/", PRIVATE),
    ("https://[0:0:0:0:0:0:0:1]/", PRIVATE),
    ("https://[fe80::1]/", PRIVATE),
    ("https://[fe80::1%25eth0]/", MALFORMED),
    ("https://[fe80::1%eth0]/", MALFORMED),
    ("https://[2001:4860:4860::8888%251]/", MALFORMED),
    ("https://[fc00::1]/", PRIVATE),
    ("https://[fd12:3456::1]/", PRIVATE),
    ("https://[fec0::1]/", PRIVATE),
    ("https://[ff02::1]/", PRIVATE),
    ("https://[ff0e::1]/", PRIVATE),
    ("https://[100::1]/", PRIVATE),
    ("https://[2001:db8::1]/", PRIVATE),
    ("https://[2001:1::1]/", PRIVATE),
    ("https://[2001:20::1]/", PRIVATE),
    ("https://[3fff::1]/", PRIVATE),
    ("https://[5f00::1]/", PRIVATE),
    ("https://[4000::1]/", PRIVATE),
    ("https://[e000::1]/", PRIVATE),
    # IPv4 wrapped into IPv6
    ("https://[::ffff:127.0.0.1]/", PRIVATE),
    ("https://[::ffff:7f00:1]/", PRIVATE),
    ("https://[::FFFF:10.0.0.1]/", PRIVATE),
    ("https://[::127.0.0.1]/", PRIVATE),
    ("https://[::ffff:0:127.0.0.1]/", PRIVATE),
    ("https://[64:ff9b::127.0.0.1]/", PRIVATE),
    ("https://[64:ff9b::10.0.0.1]/", PRIVATE),
    ("https://[64:ff9b:1::127.0.0.1]/", PRIVATE),
    ("https://[64:ff9b:1::8.8.8.8]/", PRIVATE),
    ("https://[2002:7f00:1::]/", PRIVATE),
    ("https://[2002:a9fe:a9fe::]/", PRIVATE),
    ("https://[2001:0:4136:e378:8000:63bf:80ff:fffe]/", PRIVATE),
    ("https://[127.0.0.1]/", "is not a URL"),
    ("https://[v1.fe]/", "names no host"),
    ("https://[::1/", "is not a URL"),
    # names that lead nowhere public
    ("https://localhost/", LOCAL),
    ("https://LocalHost./", LOCAL),
    ("https://a.localhost/", LOCAL),
    ("https://postgres/", LOCAL),
    ("https://printer.local/", LOCAL),
    ("https://metadata.google.internal/", LOCAL),
    ("https://router.home.arpa/", LOCAL),
    # tricks with letters that look like others
    ("https://ⓁⓄⒸⒶⓁⒽⓄⓈⓉ/", UNWRITTEN),
    ("https://exämple.com/", UNWRITTEN),
    ("https://example。com/", UNWRITTEN),
    ("https://example.com／@127.0.0.1/", UNWRITTEN),
    ("https://faß.de/", UNWRITTEN),
    ("https://example\u00ad.com/", UNWRITTEN),
    ("https://example\u200d.com/", UNWRITTEN),
    ("https://exa%6dple.com/", MALFORMED),
    ("https://a_b.example.com/", MALFORMED),
    ("https://-a.example.com/", MALFORMED),
    ("https://a..example.com/", MALFORMED),
    (f"https://{'a' * 64}.example.com/", MALFORMED),
    (f"https://{'a.' * 130}com/", MALFORMED),
    # who is who before the host
    ("https://user@example.com/", "user name"),
    ("https://user:secret@example.com/", "user name"),
    ("https://example.com@127.0.0.1/", "user name"),
    ("https://@example.com/", "user name"),
    ("https://[::1]@example.com/", "user name"),
    ("https://example.com\\@127.0.0.1/", UNWRITTEN),
    ("https://127.0.0.1\\.example.com/", UNWRITTEN),
    ("https://127.0.0.1#@example.com/", PRIVATE),
    ("https://127.0.0.1?@example.com/", PRIVATE),
    ("https://example.com/\r\nHost: other", UNWRITTEN),
    ("https://exa\tmple.com/", UNWRITTEN),
    ("https://example.com/ ", UNWRITTEN),
    ("https://example.com/\0", UNWRITTEN),
    ("\x01https://example.com/", UNWRITTEN),
    # ports
    ("https://example.com:22/", "port 22"),
    ("https://example.com:6379/", "port 6379"),
    ("https://example.com:0/", "port 0"),
    ("https://example.com:65536/", "is not a URL"),
    ("https://example.com:-1/", "is not a URL"),
    ("https://example.com:443a/", "is not a URL"),
    # other schemes, and none
    ("http://example.com/", "must begin with https://"),
    ("ftp://example.com/", "must begin with https://"),
    ("file:///etc/passwd", "must begin with https://"),
    ("gopher://example.com:443/_x", "must begin with https://"),
    ("javascript:alert(1)", "must begin with https://"),
    ("//example.com/", "must begin with https://"),
    ("example.com/", "must begin with https://"),
    ("", UNWRITTEN),
    # no host
    ("https://", "names no host"),
    ("https:///path", "names no host"),
    ("https://?x", "names no host"),
    ("https://:443/", "names no host"),
    (f"https://example.com/{'a' * 2_080}", "2,100 characters"),
]


@pytest.mark.parametrize(("url", "reason"), REFUSED)
def test_an_address_that_must_not_be_called_is_refused_before_anybody_looks_it_up(url: str, reason: str) -> None:
    with pytest.raises(InvalidAddress, match=reason):
        check_url(url, PUBLIC)
    asked: list[object] = []

    def look_up(*name: object) -> list[Any]:
        asked.append(name)
        return []

    attempt = Outbound(PUBLIC, look_up=look_up).post(url, {}, b"{}")
    assert attempt.status is None
    assert attempt.error
    assert reason in attempt.error
    assert asked == []


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "HTTPS://Example.COM",
        "https://example.com./",
        "https://hooks.example.com:8443/a;b?token=c%20d&e#f",
        "https://xn--bcher-kva.example/",
        "https://8.8.8.8/",
        "https://[2001:4860:4860::8888]:443/",
        "https://[::ffff:8.8.8.8]/",
        "https://[64:ff9b::8.8.8.8]/",
        f"https://example.com/{'a' * 1_980}",
    ],
)
def test_a_public_address_is_allowed(url: str) -> None:
    check_url(url, PUBLIC)


def test_http_is_allowed_where_the_settings_say_so() -> None:
    check_url("http://example.com/", WebhooksSettings(allow_http=True))
    with pytest.raises(InvalidAddress, match="must begin with http:// or https://"):
        check_url("ftp://example.com/", WebhooksSettings(allow_http=True))


def test_the_allow_list_lets_exactly_the_named_network_through() -> None:
    settings = WebhooksSettings(allow_networks=("10.1.0.0/16", "fd12::/32"))
    for host in ("10.1.0.1", "10.1.255.254", "[fd12::1]"):
        check_url(f"https://{host}/", settings)
    for host in ("10.0.255.255", "10.2.0.0", "127.0.0.1", "169.254.169.254", "[fd13::1]", "[::ffff:127.0.0.1]"):
        with pytest.raises(InvalidAddress, match=PRIVATE):
            check_url(f"https://{host}/", settings)
    check_url("https://hooks/", settings)  # a private network has short names; where they lead is checked later


@pytest.mark.parametrize("network", ["10.1.0.1/16", "10.1", "private", "64:ff9b::/96"])
def test_an_allow_list_that_makes_no_sense_is_told_at_once(network: str) -> None:
    with pytest.raises(MisconfiguredError, match="ALLOW_NETWORKS"):
        Outbound(WebhooksSettings(allow_networks=(network,)))
