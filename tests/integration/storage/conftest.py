"""The stores: a folder on disk, and S3 as a real (moto) server speaks it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from tests.integration.storage.stores import plain_client, s3_settings
from tests.wire_s3 import s3_server
from voxqueue.storage import BlobStore, DiskStore
from voxqueue.storage.s3 import S3Store


@pytest.fixture(autouse=True)
def no_aws_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the developer's own AWS account nor a machine's role may take part."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


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
