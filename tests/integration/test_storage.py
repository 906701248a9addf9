"""What every blob store must do, run over each of them: a folder on disk, and S3 as a real (moto) server speaks it."""

import hashlib
import io
import logging
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from voxqueue.errors import BlobMissing, MisconfiguredError, StorageUnavailable
from voxqueue.settings import S3Settings, Settings, StorageSettings
from voxqueue.storage import BlobStore, DiskStore, LocalFile, RemoteUrl, open_store
from voxqueue.storage.base import LONGEST_KEY
from voxqueue.storage.s3 import PART_BYTES, S3Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.integration

SECRET = "sentinel-of-a-secret-key-7f3a"
NOBODY = 65534
AUDIO = "audio/ogg"
BIG = 20 * 1024 * 1024


# --- the stores -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_aws_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the developer's own AWS account nor a machine's role may take part."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@contextmanager
def moto_server() -> Iterator[ThreadedMotoServer]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def endpoint_of(server: ThreadedMotoServer) -> str:
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_server() as server:
        yield endpoint_of(server)


def s3_settings(endpoint: str, bucket: str, *, prefix: str = "", url_seconds: int = 3600) -> S3Settings:
    return S3Settings(
        bucket=bucket,
        prefix=prefix,
        endpoint_url=endpoint,
        region="eu-central-1",
        access_key_id="AKIATESTING",
        secret_access_key=SecretStr(SECRET),
        url_seconds=url_seconds,
    )


@cache  # a client takes boto3 a third of a second to make
def plain_client(endpoint: str) -> "S3Client":
    """A second opinion on what the bucket holds."""
    return boto3.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="AKIATESTING",
        aws_secret_access_key="other",
    )


@pytest.fixture
def bucket(endpoint: str) -> str:
    name = f"notes-{uuid4().hex}"
    plain_client(endpoint).create_bucket(Bucket=name)
    return name


@pytest.fixture
def s3(endpoint: str, bucket: str) -> S3Store:
    return S3Store(s3_settings(endpoint, bucket))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "blobs"
    folder.mkdir()
    return folder


@pytest.fixture
def disk(root: Path) -> DiskStore:
    return DiskStore(root)


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest) -> BlobStore:
    return cast(BlobStore, request.getfixturevalue(request.param))


def put(store: BlobStore, key: str, data: bytes = b"sound") -> None:
    store.put(key, io.BytesIO(data), media_type=AUDIO)


def keys(store: BlobStore, prefix: str = "") -> set[str]:
    return {listed.key for listed in store.list(prefix)}


def every_call(store: BlobStore, key: str = "a/b") -> dict[str, Callable[[], object]]:
    return {
        "put": lambda: put(store, key),
        "get": lambda: store.get(key),
        "delete": lambda: store.delete([key]),
        "list": lambda: list(store.list()),
        "locate": lambda: store.locate(key, media_type=AUDIO, file_name="n.ogg"),
        "check": store.check,
    }


class Breaking(io.RawIOBase):
    """A source that hands out some bytes and then fails, as a broken upload does."""

    def __init__(self, good: int, error: Exception) -> None:
        self._left, self._error = good, error

    def readable(self) -> bool:
        return True

    def read(self, amount: int = -1) -> bytes:
        if not self._left:
            raise self._error
        size = self._left if amount < 0 else min(amount, self._left)
        self._left -= size
        return b"x" * size


class ShortReads(io.BytesIO):
    """A source that never gives more than 100 kB at a time, as pipes and sockets do."""

    def read(self, amount: int | None = -1) -> bytes:
        return super().read(100_000 if amount is None or amount < 0 else min(amount, 100_000))


# --- the contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 5_000, PART_BYTES - 1, PART_BYTES, BIG])
def test_what_is_put_is_what_is_read(store: BlobStore, size: int) -> None:
    data = os.urandom(size)
    blob = store.put("notes/n1/original", io.BytesIO(data), media_type=AUDIO)
    assert (blob.key, blob.size, blob.sha256) == ("notes/n1/original", size, hashlib.sha256(data).hexdigest())
    assert store.get("notes/n1/original") == data
    assert [(listed.key, listed.size) for listed in store.list()] == [("notes/n1/original", size)]


def test_a_second_put_replaces_the_first(store: BlobStore) -> None:
    put(store, "a/b", b"a long first text")
    put(store, "a/b", b"second")
    assert store.get("a/b") == b"second"
    assert keys(store) == {"a/b"}


def test_a_put_begins_where_the_source_stands(store: BlobStore) -> None:
    source = io.BytesIO(b"header|body")
    source.seek(7)
    blob = store.put("a/b", source, media_type=AUDIO)
    assert (blob.size, blob.sha256) == (4, hashlib.sha256(b"body").hexdigest())
    assert store.get("a/b") == b"body"


def test_a_source_that_reads_short_is_stored_whole(store: BlobStore) -> None:
    data = os.urandom(PART_BYTES + 1_234_567)
    blob = store.put("a/b", ShortReads(data), media_type=AUDIO)
    assert blob.sha256 == hashlib.sha256(data).hexdigest()
    assert store.get("a/b") == data


def test_a_missing_key_is_named(store: BlobStore) -> None:
    put(store, "a/b")
    for key in ("a/c", "a", "a/b/c"):
        with pytest.raises(BlobMissing, match=f"under {key}"):
            store.get(key)
        with pytest.raises(BlobMissing, match=f"under {key}"):
            store.locate(key, media_type=AUDIO, file_name="n.ogg")


def test_delete_removes_and_may_be_repeated(store: BlobStore) -> None:
    for key in ("a/b", "a/c", "d/e/f"):
        put(store, key)
    store.delete([])
    store.delete(iter(["a/b", "d/e/f", "a/b/never", "a", "was/never/there"]))
    store.delete(["a/b"])
    assert keys(store) == {"a/c"}
    with pytest.raises(BlobMissing):
        store.get("a/b")


def test_more_blobs_than_one_request_holds(endpoint: str, bucket: str, s3: S3Store, disk: DiskStore) -> None:
    wanted = {f"many/{number:04}" for number in range(1100)}
    client = plain_client(endpoint)
    for key in wanted:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
        (disk.root / key).parent.mkdir(exist_ok=True)
        (disk.root / key).write_bytes(b"x")
    put(s3, "other")
    put(disk, "other")
    store: BlobStore
    for store in (s3, disk):
        assert keys(store, "many/") == wanted
        store.delete(wanted)
        assert keys(store) == {"other"}


def test_list_goes_by_the_beginning_of_the_key(store: BlobStore) -> None:
    for key in ("notes/a1", "notes/a2/x", "notes/b", "notes-old/a", "speech/a"):
        put(store, key)
    assert keys(store) == {"notes/a1", "notes/a2/x", "notes/b", "notes-old/a", "speech/a"}
    assert keys(store, "notes") == {"notes/a1", "notes/a2/x", "notes/b", "notes-old/a"}
    assert keys(store, "notes/") == {"notes/a1", "notes/a2/x", "notes/b"}
    assert keys(store, "notes/a") == {"notes/a1", "notes/a2/x"}
    assert keys(store, "notes/a2/x") == {"notes/a2/x"}
    assert keys(store, "notes/b/") == set()
    assert keys(store, "nothing/here") == set()


def test_list_tells_when_a_blob_was_stored(store: BlobStore) -> None:
    put(store, "a/b")
    (listed,) = store.list()
    assert abs(listed.modified - datetime.now(UTC)) < timedelta(minutes=1)


def test_blobs_may_be_deleted_while_they_are_listed(store: BlobStore) -> None:
    for number in range(20):
        put(store, f"a/{number}/x")
    for listed in store.list():
        store.delete([listed.key])
    assert keys(store) == set()


BAD_KEYS = [
    "",
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a/..",
    "a/./b",
    ".",
    ".hidden",
    "a/.part",
    "a//b",
    "a/",
    "a\\b",
    "a\0b",
    "a\n",
    "a b",
    "Upper",
    "é",
    "a/" * 255 + "aaa",
    "a" * 201,
]


def test_keys_that_we_would_never_make_are_refused(store: BlobStore) -> None:
    for key in BAD_KEYS:
        calls = every_call(store, key)
        del calls["check"]
        calls["list"] = partial(keys, store, key)
        if key in {"", "a/"}:  # these two are the beginning of many a key
            del calls["list"]
        for name, call in calls.items():
            with pytest.raises(ValueError, match=r"not .*a blob key"):
                print(name, repr(key), call())  # shown if it was let through
    assert keys(store) == set()


def test_the_longest_keys_can_be_stored(store: BlobStore) -> None:
    for key in ("a" * 200, ("b" * 127 + "/") * 3 + "b" * 128):
        put(store, key)
        assert store.get(key) == b"sound"
    assert len(key) == LONGEST_KEY


@pytest.mark.parametrize("good", [0, 1000, BIG])
@pytest.mark.parametrize("error", [RuntimeError("client went away"), OSError(5, "upload spool broke")])
def test_a_source_that_breaks_leaves_nothing(store: BlobStore, good: int, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:  # as it is: the store is not to blame
        store.put("a/b", cast(BinaryIO, Breaking(good, error)), media_type=AUDIO)
    assert caught.value is error
    assert keys(store) == set()
    with pytest.raises(BlobMissing):
        store.get("a/b")


def test_a_source_that_breaks_leaves_what_was_there(store: BlobStore) -> None:
    put(store, "a/b", b"first")
    with pytest.raises(RuntimeError, match="gone"):
        store.put("a/b", cast(BinaryIO, Breaking(BIG, RuntimeError("gone"))), media_type=AUDIO)
    assert store.get("a/b") == b"first"


def test_eight_threads_put_at_once(store: BlobStore) -> None:
    bodies = [bytes([65 + number]) * (200_000 + number) for number in range(8)]

    def work(number: int) -> None:
        for turn in range(5):
            put(store, f"own/{number}/{turn}", bodies[number])
            put(store, "shared/one", bodies[number])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert store.get("shared/one") in bodies
    assert keys(store, "own/") == {f"own/{number}/{turn}" for number in range(8) for turn in range(5)}
    assert all(store.get(f"own/{number}/4") == bodies[number] for number in range(8))


def test_check_is_quiet_and_leaves_nothing(store: BlobStore) -> None:
    store.check()
    assert keys(store) == set()


# --- disk -------------------------------------------------------------------------------------------------------------


def files_below(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*"))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere, so file modes only mean something to somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel refuses to write past this size: a real failure in the middle of a file, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_disk_locates_a_file(disk: DiskStore, root: Path) -> None:
    put(disk, "a/b")
    located = disk.locate("a/b", media_type=AUDIO, file_name="n.ogg")
    assert located == LocalFile(root / "a/b")
    assert located.path.read_bytes() == b"sound"


def test_disk_keeps_no_part_of_a_broken_put(disk: DiskStore, root: Path) -> None:
    with pytest.raises(RuntimeError):
        disk.put("a/b", cast(BinaryIO, Breaking(BIG, RuntimeError("gone"))), media_type=AUDIO)
    assert files_below(root) == ["a"]


def test_disk_obeys_the_umask(disk: DiskStore, root: Path) -> None:
    before = os.umask(0o027)
    try:
        put(disk, "a/b")
    finally:
        os.umask(before)
    assert (root / "a/b").stat().st_mode & 0o777 == 0o640


def test_disk_syncs_the_file_and_its_folders(disk: DiskStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut cannot be had in a test; what has to be synced for it, and in which order, can be watched."""
    synced: list[str] = []
    real = os.fsync

    def watched(number: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{number}"), root))
        real(number)

    monkeypatch.setattr(os, "fsync", watched)
    put(disk, "a/b/c")
    *folders_made, file, folder = synced
    assert folders_made == [".", "a"]  # they hold the names of the new folders
    assert file.startswith("a/b/.")
    assert file.endswith(".part")
    assert folder == "a/b"
    synced.clear()
    put(disk, "a/b/d")
    assert len(synced) == 2


def test_disk_ignores_what_is_not_a_blob(disk: DiskStore, root: Path) -> None:
    put(disk, "a/b")
    (root / "a" / f".{uuid4().hex}.part").write_bytes(b"left by a crash")
    (root / "lost+found").mkdir()
    (root / "lost+found" / "x").write_bytes(b"left by fsck")
    assert keys(disk) == {"a/b"}


def test_disk_removes_the_folders_it_emptied(disk: DiskStore, root: Path) -> None:
    put(disk, "a/b/c")
    put(disk, "a/d")
    disk.delete(["a/b/c"])
    assert files_below(root) == ["a", "d"]
    disk.delete(["a/d"])
    assert files_below(root) == []
    assert root.is_dir()


def test_disk_puts_while_deletes_remove_its_folder(disk: DiskStore) -> None:
    stop = threading.Event()

    def tear_down() -> None:
        while not stop.is_set():
            disk.delete(["a/b/other"])
            put(disk, "a/b/other")

    with ThreadPoolExecutor(3) as pool:
        tearing = [pool.submit(tear_down) for _ in range(2)]
        try:
            for number in range(60):
                put(disk, f"a/b/{number}")
                disk.delete([f"a/b/{number}"])
        finally:
            stop.set()
        for future in tearing:
            future.result()


def test_disk_refuses_a_key_that_is_the_folder_of_another(disk: DiskStore, root: Path) -> None:
    put(disk, "a/b")
    for key in ("a", "a/b/c", "a/b/c/d"):
        with pytest.raises(ValueError, match="folder of another"):
            put(disk, key)
    assert files_below(root) == ["a", "b"]


@pytest.mark.parametrize("broken", ["missing", "file"])
def test_disk_without_its_root_is_unavailable(disk: DiskStore, root: Path, broken: str) -> None:
    root.rmdir()
    if broken == "file":
        root.write_bytes(b"")
    for name, call in every_call(disk).items():
        with pytest.raises(StorageUnavailable, match="VOXQUEUE_STORAGE_DIR is not there") as caught:
            call()
        assert str(root) not in caught.value.detail, name
    assert not root.is_dir()  # a share that is not mounted must not be papered over


def test_disk_that_may_not_be_written_is_unavailable() -> None:
    with tempfile.TemporaryDirectory() as folder:  # not below tmp_path, which only its owner may enter
        root = Path(folder)
        disk = DiskStore(root)
        put(disk, "a/b")
        (root / "lost+found").mkdir(mode=0o700)  # as the root of a mounted disk has it
        for path in (root / "a", root):
            path.chmod(0o555)
        try:
            with as_nobody():
                for name in ("put", "delete", "check"):
                    with pytest.raises(StorageUnavailable, match="Permission denied"):
                        every_call(disk)[name]()
                assert disk.get("a/b") == b"sound"
                assert keys(disk) == {"a/b"}
        finally:
            for path in (root, root / "a"):
                path.chmod(0o755)


def test_disk_that_may_not_be_read_is_unavailable() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        disk = DiskStore(root)
        put(disk, "a/b")
        (root / "a/b").chmod(0)
        (root / "a").chmod(0o111)
        root.chmod(0o555)
        try:
            with as_nobody():
                for name in ("get", "list", "locate"):
                    with pytest.raises(StorageUnavailable, match="Permission denied"):
                        every_call(disk)[name]()
        finally:
            for path in (root, root / "a"):
                path.chmod(0o755)


def test_disk_that_is_full_is_unavailable_and_keeps_nothing(disk: DiskStore, root: Path) -> None:
    with largest_file(300_000), pytest.raises(StorageUnavailable, match="cannot be written: File too large"):
        put(disk, "a/b", b"x" * 1_000_000)
    with largest_file(10), pytest.raises(StorageUnavailable, match="cannot be written"):
        disk.check()
    assert files_below(root) == ["a"]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that answers EIO")
def test_disk_that_breaks_while_reading_is_unavailable(disk: DiskStore, root: Path) -> None:
    (root / "a").mkdir()
    (root / "a/b").symlink_to("/proc/self/mem")  # reading address 0 is an I/O error
    with pytest.raises(StorageUnavailable, match="cannot be read: Input/output error"):
        disk.get("a/b")


# --- S3 ---------------------------------------------------------------------------------------------------------------


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


def test_s3_works_without_a_region_or_keys_in_our_settings(
    endpoint: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Store(S3Settings(bucket=bucket, endpoint_url=endpoint))
    with pytest.raises(StorageUnavailable, match=r"no credentials .* VOXQUEUE_S3_ACCESS_KEY_ID"):
        store.check()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
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
        assert "AKIATESTING" not in error.detail
    assert caplog.records, "nothing was logged, so this proves nothing"
    assert SECRET not in caplog.text


def test_s3_that_stopped_is_unavailable_soon(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with moto_server() as server:
        address = endpoint_of(server)
        plain_client(address).create_bucket(Bucket="notes")
        put(S3Store(s3_settings(address, "notes")), "a/b")
    raised, seconds = all_at_once(S3Store(s3_settings(address, "notes")))
    assert_unavailable_and_silent(raised, caplog)
    assert seconds < 10  # two attempts, and a pause of at most 1 s between them


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


def test_s3_that_could_not_delete_is_unavailable() -> None:
    body = b"<DeleteResult><Error><Key>a/b</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    with answering(200, body) as (address, _), pytest.raises(StorageUnavailable, match="s3:DeleteObject"):
        S3Store(s3_settings(address, "notes")).delete(["a/b"])


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
        ({"region": "not a region"}, "VOXQUEUE_S3_REGION"),
        ({"bucket": None}, "VOXQUEUE_S3_BUCKET"),
    ],
)
def test_s3_settings_that_do_not_fit_are_refused_when_opened(changed: dict[str, object], advice: str) -> None:
    settings = s3_settings("http://127.0.0.1:9", "notes").model_copy(update=changed)
    with pytest.raises(MisconfiguredError, match=advice) as caught:
        S3Store(settings)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


# --- which store ------------------------------------------------------------------------------------------------------


def test_the_settings_choose_the_store(endpoint: str, bucket: str, root: Path) -> None:
    folder = StorageSettings(dir=root)
    assert isinstance(open_store(Settings(storage=folder)), DiskStore)
    assert isinstance(open_store(Settings(storage=folder, s3=s3_settings(endpoint, bucket))), S3Store)
    with pytest.raises(MisconfiguredError, match=r"VOXQUEUE_S3_BUCKET .* VOXQUEUE_STORAGE_DIR"):
        open_store(Settings(storage=StorageSettings(), s3=S3Settings()))


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_disk_needs_no_boto3_and_s3_asks_for_it() -> None:
    code = """
import sys
from pathlib import Path
from voxqueue.errors import MisconfiguredError
from voxqueue.settings import S3Settings, Settings, StorageSettings
from voxqueue.storage import open_store
open_store(Settings(storage=StorageSettings(dir=Path("/tmp"))))
print("boto3" in sys.modules or "botocore" in sys.modules)
sys.modules["boto3"] = None  # what Python does with a module that is not installed
try:
    open_store(Settings(s3=S3Settings(bucket="notes")))
except MisconfiguredError as error:
    print(error)
"""
    imported, refused = run_python(code).splitlines()
    assert imported == "False"
    assert "pip install 'voxqueue[s3]'" in refused
