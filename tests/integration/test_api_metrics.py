"""Metrics over HTTP: who may see them, that they name no caller and no id, and what they show in an outage."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.conftest import serving
from tests.keys import TEXT, bearer, make_key, refused
from voxqueue.database.base import new_id
from voxqueue.database.session import Sessions
from voxqueue.embedded.processes import LOOPBACK
from voxqueue.keys.caller import Scope
from voxqueue.settings import ApiSettings, DatabaseSettings, RedisSettings, Settings, StorageSettings

pytestmark = pytest.mark.integration

_REQUESTS = "voxqueue_http_requests_total"


def value(page: str, name: str, **labels: str) -> float | None:
    """The one value of a metric under these labels; None where it is not shown."""
    found = [
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) <= 1, found
    return found[0] if found else None


def seen(api: httpx.Client) -> str:
    answer = api.get("/metrics")
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.fixture(scope="module")
def keyed_url(api_settings: Settings) -> Iterator[str]:
    with serving(api_settings.model_copy(update={"api": ApiSettings(keys="required")})) as url:
        yield url


# --- who may see them -------------------------------------------------------------------------------------------------


def test_where_keys_are_asked_for_metrics_are_for_admins(keyed_url: str, sessions: Sessions) -> None:
    """They tell how much all tenants do together."""
    admin, other = make_key(sessions, Scope.ADMIN), make_key(sessions, Scope.JOBS_READ)
    with httpx.Client(base_url=keyed_url, timeout=20) as api:
        refused(api.get("/metrics"), 401, "unauthorized")
        refused(api.get("/metrics", headers=bearer(other)), 403, "forbidden")
        answer = api.get("/metrics", headers=bearer(admin))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")


def test_an_open_api_shows_them_in_both_formats(api: httpx.Client) -> None:
    assert value(seen(api), "voxqueue_dependency_up", dependency="database") == 1
    accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
    answer = api.get("/metrics", headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


# --- what they are counted under --------------------------------------------------------------------------------------


def test_no_label_holds_what_callers_choose(api: httpx.Client) -> None:
    """A series for each id, path or method that somebody makes up would fill Prometheus."""
    unknown = str(new_id())
    api.get(f"/v1/jobs/{unknown}")
    api.get(f"/nothing/{unknown}")
    api.request("PROPFIND", "/v1/jobs")
    api.get("/v1/jobs", params={"cursor": unknown})
    page = seen(api)
    assert unknown not in page
    assert "PROPFIND" not in page
    assert value(page, _REQUESTS, method="GET", route="/v1/jobs/{job_id}", status="404")
    assert value(page, _REQUESTS, method="GET", route="none", status="404")
    assert value(page, _REQUESTS, method="other", route="/v1/jobs", status="405")


def test_what_the_gate_refuses_is_counted_under_its_route(keyed_url: str, sessions: Sessions) -> None:
    admin = make_key(sessions, Scope.ADMIN)
    refusal = {"route": "/v1/texts", "status": "401", "reason": "unauthorized"}
    with httpx.Client(base_url=keyed_url, timeout=20) as api:
        before = api.get("/metrics", headers=bearer(admin)).text
        api.post("/v1/texts", json=TEXT)
        api.get(f"/v1/jobs/{new_id()}")
        after = api.get("/metrics", headers=bearer(admin)).text
    counted = [value(page, "voxqueue_submissions_refused_total", **refusal) or 0 for page in (before, after)]
    assert counted[1] == counted[0] + 1
    assert value(after, _REQUESTS, method="GET", route="/v1/jobs/{job_id}", status="401")


def test_recordings_that_are_refused_are_counted_by_reason(api: httpx.Client) -> None:
    reasons = {"not-audio": b"no recording at all", "empty-audio": b""}
    before = seen(api)
    statuses = {
        reason: api.post("/v1/voice-notes", files={"file": ("note.ogg", body)}).status_code
        for reason, body in reasons.items()
    }
    after = seen(api)
    for reason, status in statuses.items():
        labels = {"route": "/v1/voice-notes", "reason": reason, "status": str(status)}
        counted = [value(page, "voxqueue_submissions_refused_total", **labels) or 0 for page in (before, after)]
        assert counted[1] == counted[0] + 1, reason
    accepts = [
        value(page, "voxqueue_accept_duration_seconds_count", route="/v1/voice-notes") for page in (before, after)
    ]
    assert accepts[0] == accepts[1], "what is refused was not accepted"


# --- what is away -----------------------------------------------------------------------------------------------------


def test_what_is_away_is_left_out_and_said_to_be_down(api_settings: Settings, tmp_path: Path) -> None:
    """Zeros would say that nothing waits, and that no worker is there."""
    away = {
        "database": DatabaseSettings(url="postgresql://127.0.0.1:9/none"),
        "redis": RedisSettings(url="redis://127.0.0.1:9/0"),
        "storage": StorageSettings(dir=tmp_path / "blobs"),
    }
    (tmp_path / "blobs").mkdir()
    with serving(api_settings.model_copy(update=away)) as url, httpx.Client(base_url=url, timeout=20) as api:
        (tmp_path / "blobs").rmdir()
        page = seen(api)
    for dependency in away:
        assert value(page, "voxqueue_dependency_up", dependency=dependency) == 0
    assert value(page, "voxqueue_fleet_ready") == 0
    for name in ("voxqueue_queue_depth", "voxqueue_workers_warm"):
        assert value(page, name, stage="stt") is None
    assert value(page, "voxqueue_webhook_deliveries_pending") is None


# --- a port of their own ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("uvicorn", "--factory", "api.app:create_app", "--port", "0"),
        ("workers", "courier"),
        ("workers", "worker", "--stages", "llm"),
    ],
    ids=["api", "courier", "worker"],
)
def test_a_port_that_is_taken_ends_the_process_with_one_line(
    words: tuple[str, ...], database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        taken = server.getsockname()[1]
        for name, setting in (
            ("DATABASE_URL", database_url),
            ("REDIS_URL", redis_url),
            ("STORAGE_DIR", str(tmp_path)),
            ("METRICS_PORT", str(taken)),
        ):
            monkeypatch.setenv(f"VOXQUEUE_{name}", setting)
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert line.startswith(f"Error: Nobody can listen on {LOOPBACK}:{taken}")
    assert "VOXQUEUE_METRICS_PORT" in line
