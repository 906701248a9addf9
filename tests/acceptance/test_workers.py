"""What must hold when workers come, go and die. Fake engines: the jobs are real, the models are not."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from api.fleet_report import FleetReports
from tests.acceptance.conftest import answering, start, worker_of
from tests.patience import until
from tests.recordings import recording, tone
from tests.wire_llm import openai
from voxqueue.client import Client, Job
from voxqueue.embedded import Stack
from voxqueue.jobs.kinds import Kind
from voxqueue.urls import for_psql

pytestmark = pytest.mark.acceptance

_WAIT_S = 60
_FAKE = {
    "VOXQUEUE_ENGINES": "fake",
    "VOXQUEUE_FAKE_FIXED_MS": "30",
    "VOXQUEUE_JOBS_LEASE_S": "3",
    "VOXQUEUE_JOBS_SWEEP_S": "1",
    "VOXQUEUE_JOBS_HINT_STALE_S": "3",
    "VOXQUEUE_JOBS_RETRY_DELAY_S": "0.2",
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with start(_FAKE, workers=[("worker", "--stages", stage) for stage in ("stt", "llm", "tts")]) as stack:
        yield stack


@pytest.fixture
def note() -> bytes:
    return recording(tone(2), 16_000, "ogg")


def wait_all(client: Client, jobs: list[Job]) -> list[Job]:
    return [client.wait(job, timeout=_WAIT_S) for job in jobs]


def rows(stack: Stack, query: str, *parameters: object) -> list[tuple[object, ...]]:
    address = for_psql(stack.env["VOXQUEUE_DATABASE_URL"])
    with psycopg.connect(address) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def kill(stack: Stack, worker: str) -> None:
    """End a worker without a word; returns once the supervisor has started it anew."""
    pid = stack.process(worker)
    os.kill(pid, signal.SIGKILL)
    until(lambda: stack.process(worker) != pid)


def assert_nothing_half_done(stack: Stack) -> None:
    """Every job ended once, with its result there exactly once, and no blob that nobody knows of."""
    assert rows(stack, "SELECT id, state FROM jobs WHERE state NOT IN ('succeeded', 'failed', 'canceled')") == []
    assert (
        rows(
            stack,
            "SELECT job_id, stage_runs.stage FROM stage_runs JOIN jobs ON jobs.id = job_id "
            "WHERE jobs.state = 'succeeded' AND (stage_runs.state <> 'succeeded' OR result IS NULL)",
        )
        == []
    )


def test_a_job_travels_across_specialised_workers(stack: Stack, client: Client, note: bytes) -> None:
    job = client.wait(client.send_note(note), timeout=_WAIT_S)
    assert [run.state for run in job.stages] == ["succeeded"] * 3
    assert job.reply is not None
    assert rows(stack, "SELECT attempt FROM jobs WHERE id = %s", job.id) == [(3,)], "claimed once by each worker"


def test_a_stage_that_fails_is_tried_again_and_then_given_up_in_words(stack: Stack, client: Client) -> None:
    flaky, broken, refused = wait_all(
        client,
        [
            client.send_text(text, kind=Kind.CHAT)
            for text in ("be !flaky@llm once", "always !fail@llm", "just !refuse@tts")
        ],
    )
    assert flaky.state == "succeeded"
    assert flaky.stages[0].failures == 1
    assert broken.state == "failed"
    assert broken.stages[0].failures == 3
    assert [run.state for run in broken.stages] == ["failed", "canceled"]
    assert refused.state == "failed"
    assert refused.stages[1].failures == 1, "what is refused is not tried again"
    assert refused.stages[0].state == "succeeded", "what was reached is kept"
    assert refused.reply is not None


def test_a_job_that_crashes_its_batch_takes_nobody_with_it(stack: Stack, client: Client) -> None:
    texts = [f"innocent number {number}" for number in range(12)]
    texts.insert(5, "I !crash@llm the batch")
    with ThreadPoolExecutor(13) as pool:
        jobs = list(pool.map(lambda text: client.send_text(text, kind=Kind.REPLY), texts))
    done = wait_all(client, jobs)
    assert [job.state for job in done].count("succeeded") == 12
    assert done[5].state == "failed"


def test_a_running_job_can_be_canceled(stack: Stack, client: Client) -> None:
    job = client.send_text("!hang:3@llm please", kind=Kind.CHAT)
    until(lambda: client.job(job.id).state == "running")
    assert client.cancel(job.id).state == "canceled"
    behind = client.send_text("an engine makes one call at a time", kind=Kind.REPLY)
    assert client.wait(behind, timeout=_WAIT_S).state == "succeeded", "so the call of the canceled job is over by now"
    job = client.job(job.id)
    assert job.state == "canceled"
    assert job.reply is None
    answer = httpx.post(f"{stack.api_url}/v1/jobs/{job.id}/cancel")
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:voxqueue:problem:job-finished"


def test_no_job_is_lost_when_workers_are_killed(stack: Stack, client: Client, note: bytes) -> None:
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: client.send_note(note), range(60)))
    for worker in ("worker-1", "worker-2", "worker-3", "worker-2"):
        time.sleep(0.3)  # somewhere in its work: wherever a kill falls, nothing may be lost
        kill(stack, worker)
    done = wait_all(client, jobs)
    assert {job.state for job in done} == {"succeeded"}
    assert_nothing_half_done(stack)


def test_a_worker_that_is_asked_to_stop_hands_its_jobs_back_at_once(stack: Stack, client: Client) -> None:
    jobs = [client.send_text(f"text {number}", kind=Kind.CHAT) for number in range(40)]
    began = time.monotonic()
    pid = stack.process("worker-2")
    os.kill(pid, signal.SIGTERM)
    until(lambda: stack.process("worker-2") != pid)
    assert time.monotonic() - began < 12, "within the grace period"
    assert {job.state for job in wait_all(client, jobs)} == {"succeeded"}
    lost = rows(stack, "SELECT max(lost_leases) FROM jobs WHERE id = ANY(%s::uuid[])", [job.id for job in jobs])
    assert lost == [(0,)], "handed back, not found lying"


def test_a_flushed_redis_costs_time_only(stack: Stack, client: Client, note: bytes) -> None:
    jobs = [client.send_note(note) for _ in range(20)]
    redis.Redis.from_url(stack.env["VOXQUEUE_REDIS_URL"]).flushall()
    jobs += [client.send_note(note) for _ in range(5)]
    assert {job.state for job in wait_all(client, jobs)} == {"succeeded"}
    assert_nothing_half_done(stack)


def test_a_killed_redis_is_no_outage(stack: Stack, client: Client, note: bytes) -> None:
    jobs = [client.send_note(note) for _ in range(5)]
    os.kill(stack.process("redis"), signal.SIGKILL)
    jobs += [client.send_note(note) for _ in range(5)]
    assert {job.state for job in wait_all(client, jobs)} == {"succeeded"}
    stack.wait_until_ready(30)


def test_jobs_wait_for_a_store_that_is_away_however_often_they_must_try(stack: Stack, client: Client) -> None:
    folder = Path(stack.env["VOXQUEUE_STORAGE_DIR"])
    away = folder.rename(folder.with_name("unmounted"))
    try:
        jobs = [client.send_text(f"say {number}", kind=Kind.SPEECH) for number in range(3)]
        until(lambda: all(client.job(job.id).stages[0].reason for job in jobs))
        for job in jobs:
            seen = client.job(job.id)
            assert (seen.state, seen.stages[0].failures) == ("queued", 0)
            assert "VOXQUEUE_STORAGE_DIR" in str(seen.stages[0].reason), "it says what is missing"
    finally:
        away.rename(folder)
    assert {job.state for job in wait_all(client, jobs)} == {"succeeded"}


def test_a_worker_whose_engine_hangs_is_replaced_and_the_others_jobs_run_on() -> None:
    with start({**_FAKE, "VOXQUEUE_LLM_DEADLINE_S": "1.5"}) as stack, Client(stack.api_url) as client:
        pid = stack.process("worker-1")
        hanging = client.send_text("!hang@llm", kind=Kind.REPLY)
        until(lambda: client.job(hanging.id).state == "running")
        others = [client.send_text(f"text {number}", kind=Kind.REPLY) for number in range(5)]
        assert {job.state for job in wait_all(client, others)} == {"succeeded"}
        assert stack.process("worker-1") != pid, "nothing else ends a thread that hangs"
        hanging = client.wait(hanging, timeout=2 * _WAIT_S)
        assert hanging.state == "failed", "it hangs each time, until it is given up"
        assert_nothing_half_done(stack)


def test_a_worker_that_hangs_while_it_loads_is_replaced() -> None:
    stuck = {**_FAKE, "VOXQUEUE_FAKE_LOAD_MS": "3600000", "VOXQUEUE_WORKER_LOAD_S": "1"}
    with start(stuck, ready_s=None) as stack:
        pid = stack.process("worker-1")
        until(lambda: stack.process("worker-1") != pid)
        assert stack.log_path
        assert "made no progress" in stack.log_path.read_text()


_HELD_UP = {"VOXQUEUE_STT_ENGINES": "fake", "VOXQUEUE_LLM_ENGINES": "openai", "VOXQUEUE_TTS_ENGINES": "fake"}
_EMBEDDED = {"VOXQUEUE_STT_ENGINES": "pocketsphinx", "VOXQUEUE_LLM_ENGINES": "echo", "VOXQUEUE_TTS_ENGINES": "espeak"}


@pytest.mark.parametrize(
    ("engines", "before"),
    [
        pytest.param(_HELD_UP, {"LOADING_MODELS", "WARMING_UP"}, id="held-up"),
        pytest.param(_EMBEDDED, set(), id="embedded"),
    ],
)
def test_the_fleet_is_never_ready_before_it_is_warm(engines: dict[str, str], before: set[str]) -> None:
    seen: list[tuple[bool, str, int]] = []
    with openai("m") as server, answering({**engines, "VOXQUEUE_OPENAI_URL": server.url}) as stack:
        gates = {"LOADING_MODELS": server.listing, "WARMING_UP": server.gate}
        for gate in gates.values():
            gate.clear()
        give_up = time.monotonic() + _WAIT_S
        with Client(stack.api_url) as client, httpx.Client(base_url=stack.api_url) as http, ExitStack() as held:
            job = client.send_text("am I early?", kind=Kind.REPLY)
            while time.monotonic() < give_up and not (seen and seen[-1][0]):
                answer = http.get("/api/ready")
                report = answer.json()
                assert (answer.status_code == 200) == report["ready"]
                seen.append((report["ready"], report["state"], report["progress"]))
                if len(seen) == 1:
                    held.enter_context(worker_of(stack))
                if report["state"] in gates:
                    gates[report["state"]].set()
                if not report["ready"] and client.job(job.id).state != "queued":
                    time.sleep(FleetReports.FRESH_S)  # the answer may be that old
                    assert http.get("/api/ready").json()["ready"], "a worker took a job before it was warm"
                time.sleep(0.02)
            assert client.wait(job, timeout=_WAIT_S).state == "succeeded"
    progress = [one[2] for one in seen]
    assert progress == sorted(progress), "never backwards"
    assert not seen[0][0], "it was asked from the beginning"
    assert {one[1] for one in seen} >= {"INITIALIZING", *before, "READY"}
