"""What containers run beside Voxqueue itself: the health check of a worker."""

import socket

import pytest
from typer.testing import CliRunner, Result

from voxqueue.cli.main import app
from voxqueue.embedded.processes import free_port
from voxqueue.fleet import EngineStatus, Fleet, StageReport, WorkerReport
from voxqueue.settings import RedisSettings, WorkerSettings, settings
from voxqueue.stages import Stage

pytestmark = pytest.mark.integration


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
    assert f"of the host {socket.gethostname()} has reported" in said.stderr
    assert "`voxqueue ready check`" in said.stderr, "most who run it by hand want the fleet"


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
    assert "Error: stt: get the model" in said.stderr


def test_nobody_knows_without_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    said = here(monkeypatch, f"redis://127.0.0.1:{free_port()}/0")
    assert said.exit_code == 3
    assert "Redis does not answer" in said.stderr
