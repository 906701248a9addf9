"""The probes: what they answer while everything is there, and while each thing is away. And what a bug looks like."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import text

import voxqueue
from api.counts import QueueCounts
from api.fleet_report import FleetReports
from tests.integration.conftest import serving
from tests.keys import bearer, make_key
from tests.moves import claim
from tests.patience import until
from tests.problems import fields, refused
from tests.starts import warmed
from tests.submitting import submit
from voxqueue import machine
from voxqueue.database.session import Sessions
from voxqueue.fleet import EngineStatus, Fleet, Spread, StageReport, WorkerReport, history
from voxqueue.jobs.kinds import Kind
from voxqueue.keys.caller import Scope
from voxqueue.settings import ApiSettings, DatabaseSettings, RedisSettings, Settings, StorageSettings
from voxqueue.stages import Stage
from voxqueue.urls import for_psql
from workers.heartbeat import FleetBeat

pytestmark = pytest.mark.integration

NO_REDIS = RedisSettings(url="redis://127.0.0.1:9/0")
NO_DATABASE = DatabaseSettings(url="postgresql://127.0.0.1:9/none")


def report(name: str, status: EngineStatus, stages: tuple[Stage, ...] = tuple(Stage)) -> WorkerReport:
    progress = 100 if status is EngineStatus.READY else 40
    engines = {stage: StageReport(status=status, progress=progress, engine="fake", model="fake-1") for stage in stages}
    return WorkerReport(worker=name, host="h", pid=1, startup_time_ms=1234, stages=engines)


@pytest.fixture(autouse=True)
def _always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question sees what was reported before it."""
    monkeypatch.setattr(FleetReports, "FRESH_S", 0.0)


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


def test_the_fleet_report_counts_what_waits_and_runs(
    api: httpx.Client, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QueueCounts, "FRESH_S", 0.0)  # what tests before have had counted is over
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
    monkeypatch.setattr(QueueCounts, "FRESH_S", 60.0)
    submit(api, Kind.SPEECH)
    assert api.get("/api/ready").json()["queues"] == counts, "counted once for all who ask within that time"


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


def test_a_database_that_hangs_holds_up_no_question_about_the_fleet(
    api_settings: Settings, fleet: Fleet, sessions: Sessions
) -> None:
    """Who asks has a few seconds of patience, a statement has thirty."""
    fleet.beat(report("a", EngineStatus.READY))
    with serving(api_settings) as url, sessions() as session:
        session.execute(text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
        answer = httpx.get(f"{url}/api/ready", timeout=15)
        assert (answer.status_code, answer.json()["queues"]) == (200, None)
        session.rollback()
        until(lambda: httpx.get(f"{url}/api/ready").json()["queues"])


def test_a_stage_that_takes_long_says_how_long(api: httpx.Client, fleet: Fleet) -> None:
    loading = report("a", EngineStatus.LOADING)
    for seconds, stage in enumerate(loading.stages.values(), start=1):
        stage.eta_s, stage.detail = Spread(p50=seconds, p90=10 * seconds), "pulling m: 42 %"
    fleet.beat(loading)
    body = api.get("/api/ready").json()
    assert body["eta_s"] == {"p50": 3, "p90": 30}
    assert body["services"]["stt"]["eta_s"] == {"p50": 1, "p90": 10}
    assert body["services"]["stt"]["detail"] == "pulling m: 42 %"


def test_progress_never_goes_back_whoever_is_asked_until_the_fleet_was_ready(
    api: httpx.Client, api_settings: Settings, fleet: Fleet
) -> None:
    """Two processes of the API, and a worker that dies on the way and begins anew under another name."""

    def beat(worker: str, progress: int) -> None:
        ready = progress == 100
        made = report(worker, EngineStatus.READY if ready else EngineStatus.WARMING)
        for stage in made.stages.values():
            stage.progress = progress
        fleet.beat(made)

    with serving(api_settings) as url, httpx.Client(base_url=url) as other:

        def progress() -> list[int]:
            return [client.get("/api/ready").json()["progress"] for client in (api, other)]

        beat("a", 70)
        assert progress() == [70, 70]
        fleet.leave("a")
        assert progress() == [70, 70]
        beat("b", 10)
        assert progress() == [70, 70]
        assert other.get("/api/ready?stage=stt").json()["progress"] == 10, "another question"
        beat("b", 80)
        assert progress() == [80, 80]
        beat("b", 100)
        assert progress() == [100, 100]
        fleet.leave("b")
        beat("a", 5)
        assert progress() == [5, 5], "what comes after it was ready begins anew"


def test_all_who_ask_at_once_share_one_look(
    api_settings: Settings, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else thousands who poll would keep Redis busy."""
    monkeypatch.setattr(FleetReports, "FRESH_S", 60.0)
    looks: list[None] = []
    look = Fleet.workers

    def counted(self: Fleet) -> list[WorkerReport]:
        looks.append(None)
        return look(self)

    monkeypatch.setattr(Fleet, "workers", counted)
    fleet.beat(report("a", EngineStatus.READY))
    with serving(api_settings) as url, ThreadPoolExecutor(16) as threads:

        def ask(number: int) -> int:
            return httpx.get(f"{url}/api/ready", params={"stage": "stt"} if number % 2 else {}, timeout=20).status_code

        assert set(threads.map(ask, range(100))) == {200}
    assert len(looks) == 1


# --- strangers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def keyed(api_settings: Settings, sessions: Sessions) -> Iterator[httpx.Client]:
    """An API that requires keys, for somebody without one."""
    required = api_settings.model_copy(update={"api": ApiSettings(keys="required")})
    with serving(required) as url, httpx.Client(base_url=url, timeout=20) as client:
        yield client


def test_strangers_learn_whether_the_fleet_is_ready_and_little_else(
    keyed: httpx.Client, sessions: Sessions, fleet: Fleet
) -> None:
    fleet.beat(report("a", EngineStatus.READY))
    brief = keyed.get("/api/ready")
    assert brief.status_code == 200
    assert set(brief.json()) == {"ready", "state", "progress", "eta_s", "degraded", "services", "workers"}
    assert brief.json()["services"]["stt"] == {"ready": True, "status": "ready"}
    assert brief.json()["workers"]["by_stage"]["stt"] == {"warm": 1, "required": 1}
    assert keyed.get("/api/ready", headers=bearer("vq_nonsense")).json() == brief.json()
    whole = keyed.get("/api/ready", headers=bearer(make_key(sessions, Scope.JOBS_READ))).json()
    assert whole["services"]["stt"]["engine"] == "fake"
    assert set(whole) > set(brief.json())


def test_a_stream_tells_strangers_no_more(keyed: httpx.Client, sessions: Sessions, fleet: Fleet) -> None:
    fleet.beat(report("a", EngineStatus.READY))

    def first_event(**headers: str) -> str:
        with keyed.stream("GET", "/api/ready/stream", headers=headers) as stream:
            return next(line for line in stream.iter_lines() if line.startswith("data:"))

    assert "engine" not in first_event()
    assert "engine" in first_event(**bearer(make_key(sessions, Scope.JOBS_READ)))


def test_an_open_api_tells_everything_to_its_own_machine_only(api: httpx.Client, fleet: Fleet) -> None:
    fleet.beat(report("a", EngineStatus.READY))
    assert "queues" in api.get("/api/ready").json()
    rebound = api.get("/api/ready", headers={"Host": "evil.example"})
    assert (rebound.status_code, "queues" in rebound.json()) == (200, False)


def test_the_short_form_is_there_while_no_key_can_be_checked(api_settings: Settings, fleet: Fleet) -> None:
    fleet.beat(report("a", EngineStatus.READY))
    blind = api_settings.model_copy(update={"api": ApiSettings(keys="required"), "database": NO_DATABASE})
    with serving(blind) as url:
        answer = httpx.get(f"{url}/api/ready", headers=bearer(f"vq_{'a' * 12}_{'b' * 43}"), timeout=20)
    assert (answer.status_code, answer.json()["ready"]) == (200, True)


# --- health, history, system ------------------------------------------------------------------------------------------


def test_health_is_one_word_for_anybody(keyed: httpx.Client, api_settings: Settings) -> None:
    assert (keyed.get("/health").status_code, keyed.get("/health").json()) == (200, {"status": "ok"})
    with serving(api_settings.model_copy(update={"database": NO_DATABASE})) as url:
        answer = httpx.get(f"{url}/health", timeout=20)
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", ["/api/ready/history", "/api/system/info"])
def test_only_administrators_learn_of_machines(keyed: httpx.Client, sessions: Sessions, path: str) -> None:
    refused(keyed.get(path), 401, "unauthorized")
    refused(keyed.get(path, headers=bearer(make_key(sessions, Scope.JOBS_READ))), 403, "forbidden")
    assert keyed.get(path, headers=bearer(make_key(sessions, Scope.ADMIN))).status_code == 200


def test_the_history_of_starts(api: httpx.Client, sessions: Sessions) -> None:
    with sessions.begin() as session:
        for number in range(30):
            history.note(session, warmed(engine="real", load_ms=1000 * number, warmup_ms=100))
    with sessions.begin() as session:
        history.note(session, warmed(engine="other", load_ms=1, warmup_ms=2))
    body = api.get("/api/ready/history").json()
    other, real = body["starts"]
    assert (other["engine"], other["starts"]) == ("other", 1)
    assert (real["engine"], real["starts"]) == ("real", 30)
    assert real["load_ms"] == {"p50": 14_500, "p90": pytest.approx(26_100)}
    assert real["warmup_ms"] == {"p50": 100, "p90": 100}
    assert [start["engine"] for start in body["latest"]] == ["other", *["real"] * 19]
    assert body["latest"][0]["warm_at"].endswith("Z")


def test_what_runs_here(api: httpx.Client, api_settings: Settings, fleet: Fleet) -> None:
    ours = report("a", EngineStatus.READY)
    ours.machine, ours.versions = machine.look(), {"torch": "2.13.0"}
    fleet.beat(ours)
    body = api.get("/api/system/info").json()
    assert body["version"] == voxqueue.__version__
    assert body["versions"]["fastapi"]
    assert 0 < body["machine"]["process_memory"] < body["machine"]["memory"]
    assert body["limits"]["upload_bytes"] == api_settings.limits.upload_bytes
    [worker] = body["workers"]
    assert (worker["worker"], worker["versions"]) == ("a", {"torch": "2.13.0"})
    assert worker["machine"]["host_class"] == body["machine"]["host_class"]
    with serving(api_settings.model_copy(update={"redis": NO_REDIS})) as url:
        assert httpx.get(f"{url}/api/system/info", timeout=20).json()["workers"] is None


# --- bugs -------------------------------------------------------------------------------------------------------------


def test_an_unexpected_error_is_logged_and_says_nothing(
    api_settings: Settings, postgres: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(for_psql(postgres)) as connection:
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
