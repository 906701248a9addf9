"""POSTs over TLS: who is believed to be the host, and that many share one client."""

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.receiver import Receiver
from tests.unit.outbound.posting import HERE, allowing, named, post, talking
from voxqueue.webhooks.schedule import Attempt
from workers.outbound import Outbound

pytestmark = pytest.mark.unit


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
