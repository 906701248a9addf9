"""Metrics of a running stack: that they are true, and that every dashboard and alert asks for some that exist."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import MappingProxyType

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import start
from tests.monitoring import ALERTS, DEPLOY, alerts, dashboards, names_in, queries
from tests.patience import until
from tests.receiver import Came, Receiver, receiving
from tests.recordings import recording, tone
from tests.wire import Said
from voxqueue.client import ApiError, Client
from voxqueue.embedded import Stack
from voxqueue.embedded.processes import LOOPBACK, free_port, port_is_taken
from voxqueue.jobs.kinds import Kind

pytestmark = pytest.mark.acceptance

_WAIT_S = 60
_SERVICES = ("api", "worker", "courier")
_NOTES, _TEXTS = 3, 4
_OWN = {"up"}  # what Prometheus adds by itself


@dataclass(frozen=True)
class Watched:
    """A stack whose processes answer on ports from the first on, a receiver of its webhooks, and what was seen last."""

    stack: Stack
    first_port: int
    receiver: Receiver
    pages: dict[str, str] = field(default_factory=dict)

    def address(self, service: str) -> str:
        return f"{LOOPBACK}:{self.first_port + _SERVICES.index(service)}"

    def look(self) -> dict[str, str]:
        for service in _SERVICES:
            answer = httpx.get(f"http://{self.address(service)}/metrics")
            assert answer.status_code == 200
            self.pages[service] = answer.text
        return self.pages

    def sum_of(self, name: str, **labels: str) -> float:
        """The sum of a metric over all processes, where the labels are these."""
        return sum(value for page in self.pages.values() for value in values(page, name, labels))


def values(page: str, name: str, labels: Mapping[str, str] = MappingProxyType({})) -> list[float]:
    return [
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


def _ports_in_a_row(number: int) -> int:
    for _ in range(50):
        first = free_port()
        if first + number < 65_536 and not any(port_is_taken(first + more) for more in range(number)):
            return first
    raise AssertionError("no free ports in a row")


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    """A stack after some jobs, of which each counts for something."""
    numbers = count(1)

    def fails_at_first(_: Came) -> Said:
        return Said(500 if next(numbers) == 1 else 204)

    first_port = _ports_in_a_row(len(_SERVICES))
    with receiving(fails_at_first) as receiver:
        env = {
            "VOXQUEUE_ENGINES": "fake",
            "VOXQUEUE_JOBS_SWEEP_S": "1",
            "VOXQUEUE_JOBS_RETRY_DELAY_S": "0.2",
            "VOXQUEUE_METRICS_PORT": str(first_port),
            "VOXQUEUE_WEBHOOKS_SCHEDULE": "0,0.1,0.1",
            "VOXQUEUE_WEBHOOKS_ALLOW_NETWORKS": "127.0.0.0/8",
            "VOXQUEUE_WEBHOOKS_ALLOW_HTTP": "true",
            "VOXQUEUE_WEBHOOKS_PORTS": receiver.url.rpartition(":")[2],
        }
        with start(env) as stack, Client(stack.api_url, timeout=30) as client:
            one = Watched(stack, first_port, receiver)
            _work(one, client)
            yield one


def _work(watched: Watched, client: Client) -> None:
    """Three notes, four texts, one that is tried again, one that fails, one that is canceled, one that is refused."""
    note = recording(tone(2), 16_000, "ogg")
    jobs = [client.send_note(note) for _ in range(_NOTES)]
    jobs += [client.send_text(f"text {number}", kind=Kind.CHAT) for number in range(_TEXTS - 1)]
    jobs.append(client.send_text("tell me", kind=Kind.CHAT, webhook_url=watched.receiver.url))
    jobs.append(client.send_text("be !flaky@llm once", kind=Kind.REPLY))
    jobs.append(client.send_text("just !refuse@tts", kind=Kind.SPEECH))
    ended = [client.wait(job, timeout=_WAIT_S).state for job in jobs]
    assert ended == ["succeeded"] * (len(jobs) - 1) + ["failed"]
    client.cancel(client.send_text("!hang:2@llm please", kind=Kind.REPLY).id)
    with pytest.raises(ApiError):
        client.send_text("too long " * 5_000)
    streams = "voxqueue_event_streams", {"route": "/api/ready/stream"}
    with httpx.stream("GET", f"{watched.stack.api_url}/api/ready/stream") as stream:
        lines = stream.iter_lines()  # kept, since the stream ends with it
        next(lines)
        assert values(watched.look()["api"], *streams) == [1]
    watched.receiver.wait(2)
    until(lambda: values(watched.look()["api"], *streams) == [0], 30)
    until(lambda: bool(watched.look()) and watched.sum_of("voxqueue_webhook_attempts_total") == 2, 30)


def test_jobs_are_counted_by_what_became_of_them(watched: Watched) -> None:
    ended = "voxqueue_jobs_finished_total"
    assert watched.sum_of(ended, kind="voice_note", state="succeeded") == _NOTES
    assert watched.sum_of(ended, kind="chat", state="succeeded") == _TEXTS
    assert watched.sum_of(ended, kind="reply", state="succeeded") == 1
    assert watched.sum_of(ended, kind="speech", state="failed") == 1
    assert watched.sum_of(ended, state="canceled") == 1
    assert watched.sum_of("voxqueue_jobs_submitted_total") == _NOTES + _TEXTS + 3
    assert watched.sum_of("voxqueue_job_duration_seconds_count") == _NOTES + _TEXTS + 1


def test_stages_are_counted_and_timed(watched: Watched) -> None:
    spoken = _NOTES + _TEXTS
    for stage, number in (("stt", _NOTES), ("llm", spoken + 1), ("tts", spoken)):
        assert watched.sum_of("voxqueue_stage_runs_total", stage=stage, outcome="succeeded") == number
        assert watched.sum_of("voxqueue_stage_run_seconds_count", stage=stage) == number
        assert watched.sum_of("voxqueue_stage_wait_seconds_count", stage=stage) == number
        assert watched.sum_of("voxqueue_stage_run_seconds_sum", stage=stage) >= 0.02 * number, "a call takes 20 ms"
    assert watched.sum_of("voxqueue_stage_runs_total", stage="tts", outcome="failed") == 1
    assert watched.sum_of("voxqueue_stage_retries_total", stage="llm", cause="failure") == 1
    assert watched.sum_of("voxqueue_stage_retries_total", cause="outage") == 0


def test_model_calls_are_those_of_jobs_alone(watched: Watched) -> None:
    """Were warming up counted, a worker at rest would show full batches."""
    pieces = {"stt": _NOTES, "tts": _NOTES + _TEXTS + 1}
    for stage, number in pieces.items():
        assert watched.sum_of("voxqueue_batch_size_sum", stage=stage) == number
        calls = watched.sum_of("voxqueue_batch_size_count", stage=stage)
        assert 1 <= calls <= number
        assert watched.sum_of("voxqueue_batch_padding_ratio_count", stage=stage) == calls
    assert watched.sum_of("voxqueue_batch_padding_ratio_sum", stage="stt") == 0, "they are equally long"
    assert watched.sum_of("voxqueue_batch_cost_total", stage="stt") == pytest.approx(2 * _NOTES, rel=0.05)
    for stage in ("stt", "llm", "tts"):
        assert watched.sum_of("voxqueue_engine_load_seconds", stage=stage, engine="fake") > 0
        assert watched.sum_of("voxqueue_engine_warmup_seconds", stage=stage, engine="fake") >= 0.02


def test_the_common_names_of_text_to_speech_say_the_same(watched: Watched) -> None:
    spoken = _NOTES + _TEXTS
    assert watched.sum_of("tts_requests_total", status="succeeded") == spoken
    assert watched.sum_of("tts_requests_total", status="failed") == 1
    for common, ours in (
        ("tts_request_duration_seconds", "voxqueue_stage_run_seconds"),
        ("tts_time_to_first_audio_seconds", "voxqueue_time_to_first_audio_seconds"),
    ):
        labels = {"stage": "tts"} if "stage" in ours else {}
        assert watched.sum_of(f"{common}_count") == spoken
        assert watched.sum_of(f"{common}_sum") == pytest.approx(watched.sum_of(f"{ours}_sum", **labels))
    loaded = watched.sum_of("voxqueue_engine_load_seconds", stage="tts")
    assert watched.sum_of("tts_model_load_time_seconds") == loaded
    assert watched.sum_of("tts_gpu_utilization_percent") == watched.sum_of("voxqueue_gpu_utilization_percent")


def test_requests_are_named_by_their_routes(watched: Watched) -> None:
    page = watched.pages["api"]
    requests = "voxqueue_http_requests_total"
    assert values(page, requests, {"method": "POST", "route": "/v1/voice-notes", "status": "202"}) == [_NOTES]
    assert values(page, requests, {"method": "POST", "route": "/v1/texts", "status": "202"}) == [_TEXTS + 3]
    assert values(page, requests, {"method": "POST", "route": "/v1/jobs/{job_id}/cancel", "status": "200"}) == [1]
    assert values(page, "voxqueue_accept_duration_seconds_count", {"route": "/v1/voice-notes"}) == [_NOTES]
    refused = {"route": "/v1/texts", "status": "422", "reason": "invalid-request"}
    assert values(page, "voxqueue_submissions_refused_total", refused) == [1]


def test_the_courier_counts_what_it_sends(watched: Watched) -> None:
    page = watched.pages["courier"]
    assert values(page, "voxqueue_webhook_attempts_total", {"outcome": "again", "status": "5xx"}) == [1]
    assert values(page, "voxqueue_webhook_attempts_total", {"outcome": "succeeded", "status": "2xx"}) == [1]
    assert values(page, "voxqueue_webhook_attempt_duration_seconds_count") == [2]
    assert values(watched.pages["api"], "voxqueue_webhook_deliveries_pending") == [0]


def test_the_api_shows_fleet_and_queues(watched: Watched) -> None:
    page = watched.pages["api"]
    assert values(page, "voxqueue_fleet_ready") == [1]
    for stage in ("stt", "llm", "tts"):
        assert values(page, "voxqueue_workers_warm", {"stage": stage}) == [1]
        assert values(page, "voxqueue_workers_required", {"stage": stage}) == [1]
    for dependency in ("database", "redis", "storage"):
        assert values(page, "voxqueue_dependency_up", {"dependency": dependency}) == [1]


def test_every_dashboard_and_alert_asks_for_metrics_that_exist(watched: Watched) -> None:
    there = _OWN | {
        sample.name
        for service in _SERVICES
        for family in text_string_to_metric_families(watched.pages[service])
        for sample in family.samples
    }
    for path in dashboards():
        for query in queries(path):
            assert names_in(query) <= there, f"{path.name}: {query}"
    for alert in alerts():
        assert names_in(alert["expr"]) <= there, alert["alert"]


def test_the_documentation_names_what_there_is(watched: Watched) -> None:
    there = {
        sample.name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        for page in watched.pages.values()
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.startswith(("voxqueue_", "tts_"))
    }
    reference = (DEPLOY.parent / "docs" / "metrics.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", reference, re.MULTILINE)) | {"voxqueue_build_info"} == there


def test_no_panel_is_empty_and_no_alert_fires(watched: Watched, tmp_path: Path) -> None:
    """Asks a real Prometheus everything that the dashboards ask, while jobs come in."""
    with _prometheus(watched, tmp_path) as url, Client(watched.stack.api_url, timeout=30) as client:
        empty = {(path.name, query) for path in dashboards() for query in queries(path)}

        def all_found() -> bool:
            client.send_note(recording(tone(1), 16_000, "ogg"), webhook_url=watched.receiver.url)
            empty.difference_update([one for one in empty if _has_numbers(url, one[1])])
            return not empty

        until(all_found, _WAIT_S, left=empty)
        rules = httpx.get(f"{url}/api/v1/rules").json()["data"]["groups"]
        firing = {rule["name"] for group in rules for rule in group["rules"] if rule["state"] == "firing"}
        assert [rule["lastError"] for group in rules for rule in group["rules"] if rule.get("lastError")] == []
        assert firing == set()


def _has_numbers(url: str, query: str) -> bool:
    answer = httpx.get(f"{url}/api/v1/query", params={"query": query.replace("$__rate_interval", "10s")}).json()
    assert answer["status"] == "success", f"{query}: {answer}"
    return any(one["value"][1] != "NaN" for one in answer["data"]["result"])


@contextmanager
def _prometheus(watched: Watched, folder: Path) -> Iterator[str]:
    """A Prometheus that scrapes the stack twice a second and has our rules; yields its address."""
    if (program := shutil.which("prometheus")) is None:
        pytest.skip("no prometheus on this machine; Debian's package of that name has it")
    targets = [{"targets": [watched.address(one)], "labels": {"service": one}} for one in _SERVICES]
    scraping = {"job_name": "voxqueue", "scrape_interval": "500ms", "scrape_timeout": "500ms"}
    config = {
        "global": {"evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{**scraping, "static_configs": targets}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML as well
    port = free_port()
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address={LOOPBACK}:{port}", "--log.level=error"]
    with subprocess.Popen(command) as process:
        try:
            url = f"http://{LOOPBACK}:{port}"
            until(lambda: process.poll() is None and _is_ready(url), 30)
            yield url
        finally:
            process.terminate()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False
