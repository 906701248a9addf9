"""Where a POST goes, where it must not go, and that nobody who answers it can hold it up or make it swallow much.

The hosts are loopback addresses: a server is reached by naming its address as an allowed network, and every other one
of 127.0.0.0/8 stands for what must not be reached.
"""

import gzip
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.receiver import Receiver, receiving
from tests.wire import Said
from voxqueue.errors import MisconfiguredError
from voxqueue.settings import WebhooksSettings
from voxqueue.webhooks.addresses import InvalidAddress, check_url
from voxqueue.webhooks.schedule import Attempt
from workers.outbound import Outbound

pytestmark = pytest.mark.unit

PUBLIC = WebhooksSettings()
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"

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


# --- where it connects ------------------------------------------------------------------------------------------------


def allowing(url: str, *networks: str, timeout_s: float = 20) -> WebhooksSettings:
    """Settings under which a server of the test's own may be called."""
    port = int(url.rpartition(":")[2])
    return WebhooksSettings(
        allow_networks=networks or (f"{HERE}/32",), allow_http=True, ports=(port,), timeout_s=timeout_s
    )


def names(*answers: list[str]) -> Callable[..., list[Any]]:
    """A name server that gives these answers, one after the other, and fails when asked once more."""
    left = iter(answers)

    def look_up(host: str, port: int, *_: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in next(left)]

    return look_up


def named(url: str) -> str:
    return url.replace(HERE, "hooks.example.com")


def post(url: str, settings: WebhooksSettings, *answers: list[str], **more: Any) -> Attempt:
    if answers:
        more["look_up"] = names(*answers)
    return Outbound(settings, **more).post(url, {"Content-Type": "application/json"}, b'{"a":1}')


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@contextmanager
def talking(talk: Callable[[socket.socket], None], host: str = HERE) -> Iterator[str]:
    """A server that says what it likes, without HTTP; its address."""
    with socket.create_server((host, 0)) as server, suppress(OSError):
        threads: list[threading.Thread] = []

        def talk_to(line: socket.socket) -> None:
            with line, suppress(OSError):
                talk(line)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    line, _ = server.accept()
                    threads.append(threading.Thread(target=talk_to, args=(line,)))
                    threads[-1].start()

        threads.append(threading.Thread(target=accept))
        threads[0].start()
        yield f"http://{host}:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()


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


# --- what it takes back -----------------------------------------------------------------------------------------------


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


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for hooks.example.com, with its key, that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example.com")])
    now = datetime.now(UTC)
    alternatives = x509.SubjectAlternativeName([x509.DNSName("hooks.example.com"), x509.IPAddress(IPv4Address(HERE))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(pem),
    )
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[tuple[str, list[bytes]]]:
    """A server that speaks TLS: its address by name, and what it was sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    came: list[bytes] = []

    def talk(line: socket.socket) -> None:
        with context.wrap_socket(line, server_side=True) as wrapped:
            while not came or not came[-1].endswith(b"}"):
                came.append(wrapped.recv(65_536))
            wrapped.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with talking(talk) as url:
        yield named(url).replace("http:", "https:"), came


def test_the_certificate_is_checked_against_the_name_though_the_address_is_connected_to(
    secure: tuple[str, list[bytes]], certificate: Path
) -> None:
    url, came = secure
    trusting = ssl.create_default_context(cafile=str(certificate))
    assert post(url, allowing(url), [HERE], tls=trusting).status == 204
    assert b"".join(came).endswith(b'{"a":1}')
    other = url.replace("hooks.", "other.")
    attempt = post(other, allowing(url), [HERE], tls=trusting)
    assert attempt.error is not None
    assert attempt.error.startswith("TLS failed: Hostname mismatch")


def test_nothing_is_sent_to_who_has_no_certificate_that_counts(secure: tuple[str, list[bytes]]) -> None:
    url, came = secure
    attempt = post(url, allowing(url), [HERE])
    assert attempt.error == "TLS failed: self-signed certificate."
    assert came == []


def test_nothing_is_sent_to_who_speaks_no_tls(receiver: Receiver) -> None:
    attempt = post(receiver.url.replace("http:", "https:"), allowing(receiver.url))
    assert attempt.error is not None
    assert attempt.error.startswith("TLS failed")
    assert receiver.book == []


def test_many_at_a_time_share_one(receiver: Receiver) -> None:
    outbound = Outbound(allowing(receiver.url, timeout_s=60))
    made: list[Attempt] = []
    threads = [
        threading.Thread(target=lambda: made.append(outbound.post(receiver.url, {}, b"{}")), name=str(number))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [attempt.status for attempt in made] == [204] * 16
