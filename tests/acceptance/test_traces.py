"""One trace from the request through every worker to the webhook, read by a collector of the test's own."""

import json
import os
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import start
from tests.collector import Sent, collecting
from tests.receiver import Came, receiving
from tests.recordings import recording, tone
from voxqueue.client import Client
from voxqueue.embedded import Stack
from voxqueue.jobs.kinds import Kind

pytestmark = pytest.mark.acceptance

_WAIT_S = 60
_CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_SAID = "tell nobody of the surprise party"
_ENV = {
    "VOXQUEUE_ENGINES": "fake",
    "VOXQUEUE_LOG_FORMAT": "json",
    "VOXQUEUE_JOBS_LEASE_S": "3",
    "VOXQUEUE_JOBS_SWEEP_S": "0.5",
    "VOXQUEUE_JOBS_RETRY_DELAY_S": "0.2",
    "VOXQUEUE_WEBHOOKS_ALLOW_NETWORKS": "127.0.0.0/8",
    "VOXQUEUE_WEBHOOKS_ALLOW_HTTP": "true",
}
_WORKERS = [("worker", "--stages", "stt", "--name", "ears"), ("worker", "--stages", "llm,tts", "--name", "mouth")]


@dataclass
class Told:
    """What a stack has told by the time it is gone."""

    jobs: dict[str, str] = field(default_factory=dict)
    spans: list[Sent] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[Came] = field(default_factory=list)

    def trace(self, name: str) -> list[Sent]:
        """The spans of the one trace that a job has, by their beginnings."""
        [trace] = {span.trace for span in self.spans if span.attributes.get("voxqueue.job.id") == self.jobs[name]}
        return sorted((span for span in self.spans if span.trace == trace), key=lambda span: span.start)


@pytest.fixture(scope="module")
def told() -> Told:
    """Jobs through two workers: one that loses a worker, one with a webhook, one tried twice, one that fails."""
    told = Told()
    with ExitStack() as servers:
        collector, receiver = servers.enter_context(collecting()), servers.enter_context(receiving())
        env = {**_ENV, **collector.env, "VOXQUEUE_WEBHOOKS_PORTS": receiver.url.rpartition(":")[2]}
        with start(env, workers=_WORKERS) as stack, Client(stack.api_url) as client:
            told.jobs["crashed"] = _lose_a_worker(stack, client)
            told.jobs["note"] = _send_note(stack, receiver.url)
            told.jobs["flaky"] = client.send_text(f"!flaky@llm {_SAID}", kind=Kind.CHAT).id
            told.jobs["broken"] = client.send_text(f"!refuse@llm {_SAID}", kind=Kind.REPLY).id
            for job_id in told.jobs.values():
                client.wait(job_id, timeout=_WAIT_S)
            told.deliveries = receiver.wait()
            assert not collector.spans, "nothing is due yet, so what is there afterwards was sent at the end"
            stack.supervisor.stop()
            assert stack.log_path is not None
            parts = [line.partition("{") for line in stack.log_path.read_text().splitlines()]
        told.lines = [json.loads(brace + rest) for _, brace, rest in parts if rest.startswith('"')]
        told.spans = collector.spans
    return told


def _lose_a_worker(stack: Stack, client: Client) -> str:
    """The id of a job whose first worker is killed while it is at it. First of all: what that one recorded is lost."""
    job = client.send_text("!hang:3@llm", kind=Kind.REPLY)
    give_up = time.monotonic() + _WAIT_S
    while client.job(job.id).state != "running":
        assert time.monotonic() < give_up
        time.sleep(0.02)
    os.kill(stack.process("worker-2"), signal.SIGKILL)
    client.wait(job, timeout=_WAIT_S)
    return job.id


def _send_note(stack: Stack, receiver: str) -> str:
    answer = httpx.post(
        f"{stack.api_url}/v1/voice-notes",
        files={"file": ("note.ogg", recording(tone(2), 16_000, "ogg"))},
        data={"webhook_url": f"{receiver}/hook?token=hidden"},
        headers={"traceparent": _CALLER},
    )
    job_id: str = answer.raise_for_status().json()["id"]
    return job_id


def test_a_note_is_one_trace_from_its_caller_to_its_webhook(told: Told) -> None:
    spans = told.trace("note")
    by_id = {span.id: span for span in spans}
    tree = [
        (span.service, span.name, by_id[span.parent].name if span.parent in by_id else span.parent) for span in spans
    ]
    submit = "POST /v1/voice-notes"
    assert tree == [
        ("voxqueue-api", submit, "b7ad6b7169203331"),
        ("voxqueue-worker", "run voice_note", submit),
        ("voxqueue-worker", "stage stt", "run voice_note"),
        ("voxqueue-worker", "call fake", "stage stt"),
        ("voxqueue-worker", "run voice_note", submit),
        ("voxqueue-worker", "stage llm", "run voice_note"),
        ("voxqueue-worker", "call fake", "stage llm"),
        ("voxqueue-worker", "stage tts", "run voice_note"),
        ("voxqueue-worker", "call fake", "stage tts"),
        ("voxqueue-courier", "POST webhook", submit),
    ]
    assert spans[0].trace == "0af7651916cd43dd8448eb211c80319c", "the caller's trace goes on"
    assert [span.instance and span.instance.partition("-")[0] for span in spans if span.name == "run voice_note"] == [
        "ears",
        "mouth",
    ]
    for span in spans[1:]:
        assert span.start <= span.end
        if span.parent in by_id and span.name.startswith(("stage", "call")):
            around = by_id[span.parent]
            assert around.start <= span.start <= span.end <= around.end, f"{span.name} is not within its parent"


def test_spans_say_what_was_run_where_and_for_how_long(told: Told) -> None:
    submit, first, stage, call, *_, delivery = told.trace("note")
    assert (submit.kind, first.kind, stage.kind, delivery.kind) == ("SERVER", "CONSUMER", "INTERNAL", "CLIENT")
    assert submit.attributes["http.response.status_code"] == 202
    assert first.attributes == {
        "voxqueue.job.id": told.jobs["note"],
        "voxqueue.job.kind": "voice_note",
        "voxqueue.job.attempt": 1,
        "voxqueue.worker": first.instance,
    }
    assert stage.attributes.pop("voxqueue.wait_ms") >= 0
    assert stage.attributes == {
        "voxqueue.stage": "stt",
        "voxqueue.engine": "fake",
        "voxqueue.model": stage.attributes["voxqueue.model"],
        "voxqueue.batch_size": 1,
        "voxqueue.outcome": "succeeded",
    }
    assert call.end - call.start >= 20e6, "the fake takes at least 20 ms, and the span has them"
    [batch] = call.attributes["voxqueue.batches"]
    assert len({span.attributes["voxqueue.batches"][0] for span in told.spans if span.name == "call fake"}) > 1, batch
    assert delivery.attributes["voxqueue.event.type"] == "job.succeeded"
    assert delivery.attributes["http.response.status_code"] == 204


def test_a_delivery_hands_the_trace_on(told: Told) -> None:
    [came] = told.deliveries
    delivery = told.trace("note")[-1]
    assert came.headers["traceparent"] == f"00-{delivery.trace}-{delivery.id}-01"


def test_another_try_and_a_recovery_after_a_crash_go_on_in_the_same_trace(told: Told) -> None:
    flaky = told.trace("flaky")
    assert [span.attributes["voxqueue.job.attempt"] for span in flaky if span.name == "run chat"] == [1, 2]
    stages = [span for span in flaky if span.name == "stage llm"]
    assert [span.attributes["voxqueue.outcome"] for span in stages] == ["engine-failed", "succeeded"]
    assert [span.error for span in stages] == ["The engine failed", None]
    crashed = told.trace("crashed")
    [submit, run] = [span for span in crashed if span.name in ("POST /v1/texts", "run reply")]
    assert (run.attributes["voxqueue.job.attempt"], run.parent) == (2, submit.id)


def test_a_failure_is_recorded_by_its_title_and_never_by_what_was_said(told: Told) -> None:
    failed = [span for span in told.trace("broken") if span.error]
    assert {span.name for span in failed} == {"stage llm", "run reply"}
    assert len({span.error for span in failed}) == 1, "the title of the error, both times"
    everything = repr(told.spans)
    assert _SAID not in everything
    assert "hidden" not in everything, "of a webhook's address only the host is told"
    assert not any(span.events for span in told.spans), "exceptions quote what they are about"


def test_every_line_of_a_worker_says_which_it_is_and_of_a_job_which_trace(told: Told) -> None:
    [trace] = {span.trace for span in told.trace("broken")}
    of_jobs = [line for line in told.lines if line.get("job") in told.jobs.values()]
    assert of_jobs, "there is something to look at"
    for line in of_jobs:
        assert len(line["trace_id"]) == 32
        assert line["worker"].startswith(("ears-", "mouth-"))
    assert all(line["trace_id"] == trace for line in of_jobs if line["job"] == told.jobs["broken"])
    from_workers = [line for line in told.lines if line["logger"].startswith(("workers.", "celery."))]
    assert from_workers
    assert all("worker" in line for line in from_workers)
