"""What the store on S3 does beyond the contract, and how it takes a server that fails."""

import hashlib
import io
import logging
import os
import socket
import threading
import time
import traceback
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO, cast
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.integration.storage.stores import (
    ACCESS_KEY,
    AUDIO,
    BIG,
    SECRET,
    Breaking,
    every_call,
    keys,
    plain_client,
    put,
    s3_settings,
)
from tests.wire_s3 import s3_server
from voxqueue.errors import BlobMissing, MisconfiguredError, StorageUnavailable
from voxqueue.settings import S3Settings
from voxqueue.storage import BlobsKept, BlobStore, RemoteUrl
from voxqueue.storage.s3 import PART_BYTES, S3Store

pytestmark = pytest.mark.integration


def test_s3_sends_a_large_blob_in_parts(endpoint: str, bucket: str, s3: S3Store) -> None:
    data = os.urandom(BIG)
    s3.put("a/big", io.BytesIO(data), media_type=AUDIO)
    client = plain_client(endpoint)
    head = client.head_object(Bucket=bucket, Key="a/big", ChecksumMode="ENABLED")
    assert head["ETag"].strip('"').endswith("-3")  # 8 + 8 + 4 MiB
    assert head["ContentLength"] == BIG
    assert head["ContentType"] == AUDIO
    first = client.head_object(Bucket=bucket, Key="a/big", PartNumber=1)
    assert first["ContentLength"] == PART_BYTES
    digests = [hashlib.sha256(data[at : at + PART_BYTES]).digest() for at in range(0, BIG, PART_BYTES)]
    assert b64decode(head["ChecksumSHA256"].removesuffix("-3")) == hashlib.sha256(b"".join(digests)).digest()


def test_s3_stores_our_own_digest_with_a_small_blob(endpoint: str, bucket: str, s3: S3Store) -> None:
    blob = s3.put("a/small", io.BytesIO(b"sound"), media_type=AUDIO)
    head = plain_client(endpoint).head_object(Bucket=bucket, Key="a/small", ChecksumMode="ENABLED")
    assert b64decode(head["ChecksumSHA256"]).hex() == blob.sha256
    assert head["ContentType"] == AUDIO
    assert "-" not in head["ETag"]


def test_s3_aborts_the_parts_of_a_broken_upload(endpoint: str, bucket: str, s3: S3Store) -> None:
    with pytest.raises(RuntimeError):
        s3.put("a/b", cast(BinaryIO, Breaking(BIG, RuntimeError("gone"))), media_type=AUDIO)
    assert "Uploads" not in plain_client(endpoint).list_multipart_uploads(Bucket=bucket)


def test_s3_keeps_to_its_part_of_the_bucket(endpoint: str, bucket: str) -> None:
    client = plain_client(endpoint)
    client.put_object(Bucket=bucket, Key="a/b", Body=b"somebody else's")
    client.put_object(Bucket=bucket, Key="team/", Body=b"")  # a folder as web consoles make it
    client.put_object(Bucket=bucket, Key="team/Not Ours.txt", Body=b"")
    stores = [S3Store(s3_settings(endpoint, bucket, prefix=prefix)) for prefix in ("team", "/team/two/")]
    for store in stores:
        assert keys(store) == set()
    put(stores[1], "a/b", b"two")
    assert client.get_object(Bucket=bucket, Key="team/two/a/b")["Body"].read() == b"two"
    assert keys(stores[1], "a") == {"a/b"}
    assert keys(stores[0]) == {"two/a/b"}
    stores[0].delete(["a/b"])
    assert stores[1].get("a/b") == b"two"
    assert client.get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"somebody else's"


@pytest.mark.parametrize(
    ("file_name", "disposition"),
    [
        ("reply.mp3", 'attachment; filename="reply.mp3"'),
        ('Grüße "1".mp3', "attachment; filename=\"Gr__e _1_.mp3\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%20%221%22.mp3"),
        ("a\r\nSet-Cookie: x", "attachment; filename=\"a__Set-Cookie: x\"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x"),
    ],
)
def test_s3_locates_an_address_that_needs_no_credentials(s3: S3Store, file_name: str, disposition: str) -> None:
    s3.put("a/b", io.BytesIO(b"0123456789"), media_type="application/octet-stream")
    located = s3.locate("a/b", media_type="audio/mpeg", file_name=file_name)
    assert isinstance(located, RemoteUrl)
    answer = httpx.get(located.url)
    assert (answer.status_code, answer.content) == (200, b"0123456789")
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["content-disposition"] == disposition
    part = httpx.get(located.url, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    assert part.headers["content-range"] == "bytes 2-4/10"


def test_s3_signs_addresses_for_as_long_as_the_settings_say(endpoint: str, bucket: str) -> None:
    store = S3Store(s3_settings(endpoint.replace("127.0.0.1", "localhost"), bucket, url_seconds=77))
    put(store, "a/b")
    located = store.locate("a/b", media_type=AUDIO, file_name="n.ogg")
    assert isinstance(located, RemoteUrl)
    url = urlsplit(located.url)
    query = parse_qs(url.query)
    assert (url.hostname, url.path) == (
        "localhost",
        f"/{bucket}/a/b",
    )  # path style: no name server knows `bucket.localhost`
    assert query["X-Amz-Expires"] == ["77"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert "/eu-central-1/s3/" in query["X-Amz-Credential"][0]
    assert SECRET not in located.url


def test_s3_signs_addresses_for_the_host_under_which_callers_reach_the_store(endpoint: str, bucket: str) -> None:
    """The API itself goes by the inside address: nobody there need reach the public one."""
    inside = s3_settings(endpoint, bucket)
    public = endpoint.replace("127.0.0.1", "localhost")
    store = S3Store(inside.model_copy(update={"public_endpoint_url": public}))
    put(store, "a/b")
    located = store.locate("a/b", media_type=AUDIO, file_name="n.ogg")
    assert isinstance(located, RemoteUrl)
    assert located.url.startswith(f"{public}/{bucket}/a/b?")
    assert httpx.get(located.url).content == b"sound"

    nowhere = S3Store(inside.model_copy(update={"public_endpoint_url": "http://s3.invalid"}))
    nowhere.check()
    assert nowhere.get("a/b") == b"sound"
    with pytest.raises(BlobMissing):
        nowhere.locate("a/missing", media_type=AUDIO, file_name="n.ogg")
    elsewhere = nowhere.locate("a/b", media_type=AUDIO, file_name="n.ogg")
    assert isinstance(elsewhere, RemoteUrl)
    assert urlsplit(elsewhere.url).hostname == "s3.invalid"
    assert parse_qs(urlsplit(elsewhere.url).query)["X-Amz-SignedHeaders"] == ["host"]


def test_s3_signs_an_address_for_head_as_one(s3: S3Store) -> None:
    """One that is signed for GET is refused when it is followed with HEAD."""
    put(s3, "a/b")
    located = s3.locate("a/b", media_type=AUDIO, file_name="n.ogg", for_head=True)
    assert isinstance(located, RemoteUrl)
    answer = httpx.head(located.url)
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "5", b"")
    assert answer.headers["content-type"] == AUDIO
    for_get = s3.locate("a/b", media_type=AUDIO, file_name="n.ogg")
    assert isinstance(for_get, RemoteUrl)
    assert (
        parse_qs(urlsplit(located.url).query)["X-Amz-Signature"]
        != (parse_qs(urlsplit(for_get.url).query)["X-Amz-Signature"])
    )


def test_s3_works_without_a_region_or_keys_in_our_settings(
    endpoint: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Store(S3Settings(bucket=bucket, endpoint_url=endpoint))
    with pytest.raises(StorageUnavailable, match=r"no credentials .* VOXQUEUE_S3_ACCESS_KEY_ID"):
        store.check()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    store = S3Store(S3Settings(bucket=bucket, endpoint_url=endpoint))
    put(store, "a/b")
    located = store.locate("a/b", media_type=AUDIO, file_name="n.ogg")
    assert isinstance(located, RemoteUrl)
    assert "X-Amz-Signature=" in located.url  # left to itself, boto3 signs the way that S3 gave up here
    assert httpx.get(located.url).content == b"sound"


def test_s3_without_its_bucket_says_what_to_do(endpoint: str) -> None:
    store = S3Store(s3_settings(endpoint, "never-created"))
    for name, call in every_call(store).items():
        if name == "locate":  # a HEAD for a blob does not tell a missing bucket from a missing blob
            continue
        with pytest.raises(StorageUnavailable, match="VOXQUEUE_S3_BUCKET does not exist"):
            call()


def all_at_once(store: BlobStore) -> tuple[dict[str, BaseException | None], float]:
    """What each call raises, and how long the slowest takes, in seconds."""
    begun = time.monotonic()
    calls = every_call(store)
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = {name: pool.submit(call) for name, call in calls.items()}
        return {name: future.exception() for name, future in futures.items()}, time.monotonic() - begun


def assert_unavailable_and_silent(raised: dict[str, BaseException | None], caplog: pytest.LogCaptureFixture) -> None:
    for name, error in raised.items():
        assert isinstance(error, StorageUnavailable), f"{name}: {error!r}"
        told = f"{error} {error!r} {error.as_problem()} {''.join(traceback.format_exception(error))}"
        assert SECRET not in told
        assert ACCESS_KEY not in error.detail
    assert caplog.records, "nothing was logged, so this proves nothing"
    assert SECRET not in caplog.text


def test_s3_that_stopped_is_unavailable_soon(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with s3_server() as address:
        plain_client(address).create_bucket(Bucket="notes")
        put(S3Store(s3_settings(address, "notes")), "a/b")
    raised, seconds = all_at_once(S3Store(s3_settings(address, "notes")))
    assert_unavailable_and_silent(raised, caplog)
    assert seconds < 10  # three attempts, and pauses of at most 1 s and 2 s between them


def test_s3_that_hangs_is_unavailable_soon(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        raised, seconds = all_at_once(S3Store(s3_settings(address, "notes"), read_timeout_s=0.5))
    assert_unavailable_and_silent(raised, caplog)
    assert seconds < 12


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """A server that answers everything alike: for what moto cannot be brought to say. Yields its address and calls."""
    calls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            calls.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for name, value in {"Content_Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = answer  # noqa: N815 - names that http.server asks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in http.server
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", calls
        finally:
            server.shutdown()
            thread.join()


def refusal(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>of {SECRET}</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "AccessDenied", "allow s3:ListBucket"),
        (403, "InvalidAccessKeyId", "correct VOXQUEUE_S3_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "VOXQUEUE_S3_SECRET_ACCESS_KEY"),
        (403, "RequestTimeTooSkewed", "set the clock"),
        (400, "SomethingNew", "refused GetObject with SomethingNew"),
    ],
)
def test_s3_that_refuses_says_what_to_do(status: int, code: str, advice: str) -> None:
    with answering(status, refusal(code)) as (address, calls):
        store = S3Store(s3_settings(address, "notes"))
        with pytest.raises(StorageUnavailable, match=advice) as caught:
            store.get("a/b")
        assert SECRET not in caught.value.detail  # not even what the store itself says goes out
        assert len(calls) == 1  # trying again would not help
        with pytest.raises(StorageUnavailable):
            store.locate("a/b", media_type=AUDIO, file_name="n.ogg")


def test_s3_that_is_overloaded_is_tried_three_times() -> None:
    with answering(503, refusal("SlowDown")) as (address, calls):
        with pytest.raises(StorageUnavailable, match="SlowDown"):
            put(S3Store(s3_settings(address, "notes")), "a/b")
        assert len(calls) == 3


def test_s3_deletes_a_thousand_at_a_time() -> None:
    """S3 refuses more in one request; moto does not."""
    with answering(200, b"<DeleteResult/>") as (address, calls):
        S3Store(s3_settings(address, "notes")).delete(f"many/{number}" for number in range(2001))
    assert len(calls) == 3


def test_s3_that_could_not_delete_says_which() -> None:
    body = b"<DeleteResult><Error><Key>a/b</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    with answering(200, body) as (address, _), pytest.raises(BlobsKept, match="s3:DeleteObject") as caught:
        S3Store(s3_settings(address, "notes")).delete(["a/a", "a/b", "a/c"])
    assert caught.value.keys == {"a/b"}


def test_s3_that_breaks_off_is_unavailable() -> None:
    with answering(200, b"only this", Content_Length="1000", Connection="close") as (address, _):
        store = S3Store(s3_settings(address, "notes"))
        with pytest.raises(StorageUnavailable, match="ResponseStreamingError"):
            store.get("a/b")


def test_s3_that_sends_damaged_bytes_is_unavailable() -> None:
    with answering(200, b"damaged", x_amz_checksum_crc32="AAAAAA==") as (address, _):
        store = S3Store(s3_settings(address, "notes"))
        with pytest.raises(StorageUnavailable, match="FlexibleChecksumError"):
            store.get("a/b")


@pytest.mark.parametrize(
    ("changed", "advice"),
    [
        ({"secret_access_key": None}, "set both"),
        ({"access_key_id": None}, "set both"),
        ({"endpoint_url": "localhost:9000"}, "VOXQUEUE_S3_ENDPOINT_URL"),
        ({"endpoint_url": f"http://user:{SECRET}@127.0.0.1:9000"}, "without user or password"),
        ({"endpoint_url": "http://["}, "VOXQUEUE_S3_ENDPOINT_URL"),
        ({"public_endpoint_url": "s3.example.com"}, "VOXQUEUE_S3_PUBLIC_ENDPOINT_URL"),
        ({"region": "not a region"}, "VOXQUEUE_S3_REGION"),
        ({"bucket": None}, "VOXQUEUE_S3_BUCKET"),
    ],
)
def test_s3_settings_that_do_not_fit_are_refused_when_opened(changed: dict[str, object], advice: str) -> None:
    settings = s3_settings("http://127.0.0.1:9", "notes").model_copy(update=changed)
    with pytest.raises(MisconfiguredError, match=advice) as caught:
        S3Store(settings)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
