"""What every blob store must do, run over each of them."""

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import BinaryIO, cast

import pytest

from tests.integration.storage.stores import (
    AUDIO,
    BIG,
    Breaking,
    ShortReads,
    every_call,
    keys,
    plain_client,
    put,
)
from voxqueue.errors import BlobMissing
from voxqueue.storage import BlobStore, DiskStore
from voxqueue.storage.base import LONGEST_KEY
from voxqueue.storage.s3 import PART_BYTES, S3Store

pytestmark = pytest.mark.integration


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
