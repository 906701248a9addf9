"""Stores to test with, and what tests do with them."""

import io
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import boto3
from pydantic import SecretStr

from voxqueue.settings import S3Settings
from voxqueue.storage import BlobStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCESS_KEY = "AKIATESTING"
SECRET = "sentinel-of-a-secret-key-7f3a"
NOBODY = 65534
AUDIO = "audio/ogg"
BIG = 20 * 1024 * 1024


def s3_settings(endpoint: str, bucket: str, *, prefix: str = "", url_seconds: int = 3600) -> S3Settings:
    return S3Settings(
        bucket=bucket,
        prefix=prefix,
        endpoint_url=endpoint,
        region="eu-central-1",
        access_key_id=ACCESS_KEY,
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
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
    )


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
