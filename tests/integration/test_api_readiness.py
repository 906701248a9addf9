"""The probes: what they answer while everything is there, and while each thing is away. And what a bug looks like."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.integration.conftest import serving
from tests.integration.test_api_bad_input import fields, refused
from tests.integration.test_api_jobs import submit
from tests.moves import claim
from voxqueue.database.session import Sessions
from voxqueue.fleet import EngineStatus, Fleet, StageReport, WorkerReport
from voxqueue.jobs.kinds import Kind
from voxqueue.settings import DatabaseSettings, RedisSettings, Settings, StorageSettings
from voxqueue.stages import Stage
from workers.heartbeat import FleetBeat

pytestmark = pytest.mark.integration

NO_REDIS = RedisSettings(url="redis://127.0.0.1:9/0")
NO_DATABASE = DatabaseSettings(url="postgresql://127.0.0.1:9/none")


def report(name: str, status: EngineStatus, stages: tuple[Stage, ...] = tuple(Stage)) -> WorkerReport:
    progress = 100 if status is EngineStatus.READY else 40
    engines = {stage: StageReport(status=status, progress=progress, engine="fake", model="fake-1") for stage in stages}
    return WorkerReport(worker=name, host="h", pid=1, startup_time_ms=1234, stages=engines)


@pytest.fixture
def fleet(api_settings: Settings) -> Iterator[Fleet]:
    """Where the test's workers report; they leave at the end."""
    fleet = Fleet(api_settings.redis, api_settings.worker)
    yield fleet
    for worker in ("a", "b"):
        fleet.leave(worker)
    fleet.close()


# --- this process -----------------------------------------------------------------------------------------------------


def test_a_process_that_has_all_it_needs_is_ready(api: httpx.Client) -> None:
    answer = api.get("/readyz")
    assert answer.status_code == 200
    fine = {"ready": True, "error": None}
    assert answer.json() == {
        "ready": True,
        "database": {**fine, "required": True},
        "storage": {**fine, "required": True},
        "redis": {**fine, "required": False},
    }
    assert api.get("/livez").json() == {"status": "ok"}


@pytest.mark.parametrize("away", ["database", "storage", "redis"])
def test_a_process_is_ready_as_long_as_it_can_store_jobs(api_settings: Settings, tmp_path: Path, away: str) -> None:
    replaced = {"database": NO_DATABASE, "storage": StorageSettings(dir=tmp_path / "none"), "redis": NO_REDIS}[away]
    with serving(api_settings.model_copy(update={away: replaced})) as url:
        answer = httpx.get(f"{url}/readyz", timeout=20)
        assert httpx.get(f"{url}/livez").status_code == 200, "a restart would mend nothing"
    body = answer.json()
    assert (answer.status_code, body["ready"]) == ((200, True) if away == "redis" else (503, False))
    assert ("retry-after" in answer.headers) == (away != "redis")
    assert not body[away]["ready"]
    assert body[away]["error"]
    assert all(body[name]["ready"] for name in {"database", "storage", "redis"} - {away})


# --- the fleet --------------------------------------------------------------------------------------------------------


def test_a_fleet_without_workers_is_not_ready(api: httpx.Client) -> None:
    answer = api.get("/api/ready")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    body = answer.json()
    assert (body["ready"], body["state"], body["progress"], body["workers"]["total"]) == (False, "INITIALIZING", 0, 0)
    assert set(body["services"]) == {"stt", "llm", "tts"}


def test_a_fleet_is_ready_once_every_critical_stage_is_warm(api: httpx.Client, fleet: Fleet) -> None:
    fleet.beat(report("a", EngineStatus.WARMING))
    warming = api.get("/api/ready")
    assert (warming.status_code, warming.json()["state"]) == (503, "WARMING_UP")
    fleet.beat(report("a", EngineStatus.READY))
    ready = api.get("/api/ready")
    assert (ready.status_code, ready.json()["state"], ready.json()["progress"]) == (200, "READY", 100)
    assert ready.json()["services"]["stt"]["engine"] == "fake"
    assert "retry-after" not in ready.headers
    fleet.leave("a")
    assert api.get("/api/ready").status_code == 503


def test_one_stage_and_a_number_of_workers_can_be_asked_for(api: httpx.Client, fleet: Fleet) -> None:
    fleet.beat(report("a", EngineStatus.READY, (Stage.STT,)))

    def asked(**query: str | int) -> tuple[int, int]:
        answer = api.get("/api/ready", params=query)
        return answer.status_code, answer.json()["workers"]["by_stage"]["stt"]["required"]

    assert asked() == (503, 1)
    assert asked(stage="stt") == (200, 1)
    assert asked(stage="stt", min_warm=2) == (503, 2)
    assert asked(stage="llm") == (503, 0)
    fleet.beat(report("b", EngineStatus.READY, (Stage.STT,)))
    assert asked(stage="stt", min_warm=2) == (200, 2)


@pytest.mark.parametrize(
    ("query", "field"),
    [("min_warm=0", "min_warm"), ("min_warm=1001", "min_warm"), ("min_warm=x", "min_warm"), ("stage=asr", "stage")],
)
def test_a_bad_question_about_the_fleet_is_refused(api: httpx.Client, query: str, field: str) -> None:
    answer = api.get(f"/api/ready?{query}")
    refused(answer, 422)
    assert fields(answer) == [field]


def test_the_fleet_report_counts_what_waits_and_runs(api: httpx.Client, sessions: Sessions) -> None:
    time.sleep(1.1)  # longer than an earlier count is remembered
    for kind in (Kind.TRANSCRIPTION, Kind.CHAT, Kind.CHAT):
        job_id = submit(api, kind)
    claim(sessions, job_id)
    counts = api.get("/api/ready").json()["queues"]
    assert {stage: (count["depth"], count["running"]) for stage, count in counts.items()} == {
        "stt": (1, 0),
        "llm": (1, 1),
        "tts": (0, 0),
    }
    assert counts["stt"]["oldest_age_s"] >= 0
    assert counts["tts"]["oldest_age_s"] is None
    submit(api, Kind.SPEECH)
    assert api.get("/api/ready").json()["queues"] == counts, "counted at most once a second"


def test_workers_hear_that_they_are_to_try_their_engines_again(api: httpx.Client, fleet: Fleet) -> None:
    heard: list[str] = []
    beat = FleetBeat(lambda: report("a", EngineStatus.FAILED), fleet, on_warmup=lambda: heard.append("now"))
    beat()
    beat()
    assert heard == [], "nobody has asked, or not since this worker is there"
    answer = api.post("/api/ready/warmup")
    assert (answer.status_code, answer.json()["ready"]) == (202, False)
    beat()
    beat()
    assert heard == ["now"]


def test_without_redis_nobody_knows_and_the_report_says_so(api_settings: Settings) -> None:
    with serving(api_settings.model_copy(update={"redis": NO_REDIS})) as url:
        answer = httpx.get(f"{url}/api/ready")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    body = answer.json()
    assert (body["ready"], body["state"]) == (False, "ERROR")
    assert "Redis" in body["errors"][0]
    assert set(body["queues"]) == {"stt", "llm", "tts"}, "of the same shape"


def test_without_a_database_the_fleet_is_reported_without_its_queues(api_settings: Settings, fleet: Fleet) -> None:
    fleet.beat(report("a", EngineStatus.READY))
    with serving(api_settings.model_copy(update={"database": NO_DATABASE})) as url:
        answer = httpx.get(f"{url}/api/ready", timeout=20)
    assert (answer.status_code, answer.json()["queues"]) == (200, None)


# --- bugs -------------------------------------------------------------------------------------------------------------


def test_an_unexpected_error_is_logged_and_says_nothing(
    api_settings: Settings, postgres: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(postgres.replace("postgresql+psycopg", "postgresql")) as connection:
        connection.execute("CREATE ROLE nobody LOGIN")
    without_rights = DatabaseSettings(url=postgres.replace("postgres@", "nobody@"))
    with serving(api_settings.model_copy(update={"database": without_rights})) as url:
        answer = httpx.get(f"{url}/v1/jobs")
        refused(answer, 500, "internal-error")
        assert "permission" not in answer.text
        assert "SELECT" not in answer.text
        assert httpx.get(f"{url}/livez").status_code == 200
    assert "InsufficientPrivilege" in caplog.text
    assert "Traceback" in caplog.text
