"""What containers run beside Voxqueue itself: the health check of a worker, and the making of the bucket."""

import os
import runpy
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.integration.storage.stores import plain_client
from tests.wire_s3 import s3_server
from voxqueue.cli.main import app
from voxqueue.embedded.processes import free_port
from voxqueue.fleet import EngineStatus, Fleet, StageReport, WorkerReport
from voxqueue.settings import RedisSettings, WorkerSettings, settings
from voxqueue.stages import Stage

pytestmark = pytest.mark.integration

MAKE_BUCKET = Path(__file__).parents[2] / "deploy" / "docker" / "make_bucket.py"


@pytest.fixture
def fleet(redis_url: str) -> Fleet:
    """A fleet whose reports stay for as long as a test takes."""
    return Fleet(RedisSettings(url=redis_url), WorkerSettings(heartbeat_ttl_s=60))


def here(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> Result:
    monkeypatch.setenv("VOXQUEUE_REDIS_URL", redis_url)
    settings.cache_clear()
    try:
        return CliRunner().invoke(app, ["ready", "here"])
    finally:
        settings.cache_clear()


def report(status: EngineStatus, host: str | None = None) -> WorkerReport:
    stage = StageReport(status=status, error="get the model" if status is EngineStatus.FAILED else None)
    return WorkerReport(worker="w@here", host=host or socket.gethostname(), pid=1, stages={Stage.STT: stage})


def test_a_worker_that_says_nothing_is_ill(monkeypatch: pytest.MonkeyPatch, redis_url: str, fleet: Fleet) -> None:
    fleet.beat(report(EngineStatus.READY, host="elsewhere"))
    said = here(monkeypatch, redis_url)
    fleet.leave("w@here")
    assert said.exit_code == 1
    assert "has reported" in said.stderr


@pytest.mark.parametrize("status", [EngineStatus.LOADING, EngineStatus.WARMING, EngineStatus.READY])
def test_a_worker_that_warms_is_well(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, fleet: Fleet, status: EngineStatus
) -> None:
    """Else a container that loads a large model would be taken for a broken one."""
    fleet.beat(report(status))
    said = here(monkeypatch, redis_url)
    fleet.leave("w@here")
    assert (said.exit_code, said.stdout) == (0, f"w@here: stt {status}\n")


def test_a_worker_without_an_engine_is_ill(monkeypatch: pytest.MonkeyPatch, redis_url: str, fleet: Fleet) -> None:
    fleet.beat(report(EngineStatus.FAILED))
    said = here(monkeypatch, redis_url)
    fleet.leave("w@here")
    assert said.exit_code == 1
    assert "Error: get the model" in said.stderr


def test_nobody_knows_without_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    said = here(monkeypatch, f"redis://127.0.0.1:{free_port()}/0")
    assert said.exit_code == 3
    assert "Redis does not answer" in said.stderr


def test_the_bucket_is_made_once_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with s3_server() as endpoint:
        for name, value in {
            "ENDPOINT_URL": endpoint,
            "BUCKET": "made",
            "REGION": "us-east-1",
            "ACCESS_KEY_ID": "k",
            "SECRET_ACCESS_KEY": "s",
        }.items():
            monkeypatch.setenv(f"VOXQUEUE_S3_{name}", value)
        for _ in range(2):
            runpy.run_path(str(MAKE_BUCKET), run_name="__main__")
        assert [it["Name"] for it in plain_client(endpoint).list_buckets()["Buckets"]] == ["made"]
