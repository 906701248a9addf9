"""The stores: a folder on disk, and S3 as real servers (moto, SeaweedFS) speak it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from tests.integration.storage.stores import ACCESS_KEY, SECRET, plain_client, s3_settings
from tests.wire_s3 import s3_server
from tests.wire_seaweedfs import seaweedfs_server
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
def moto() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("seaweedfs")
    with seaweedfs_server(folder, access_key=ACCESS_KEY, secret_key=SECRET) as address:
        yield address


@pytest.fixture(scope="module", params=["moto", "seaweedfs"])
def endpoint(request: pytest.FixtureRequest) -> str:
    return cast(str, request.getfixturevalue(request.param))


@pytest.fixture
def bucket(endpoint: str) -> str:
    return new_bucket(endpoint)


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


@pytest.fixture(params=["disk", "moto", "seaweedfs"])
def store(request: pytest.FixtureRequest) -> BlobStore:
    if request.param == "disk":
        return cast(BlobStore, request.getfixturevalue("disk"))
    address = request.getfixturevalue(request.param)
    return S3Store(s3_settings(address, new_bucket(address)))


def new_bucket(address: str) -> str:
    name = f"notes-{uuid4().hex}"
    plain_client(address).create_bucket(Bucket=name)
    return name
