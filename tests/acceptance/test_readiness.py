"""What the fleet says of itself when real workers hang, die on their way, or start for the fourth time."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import answering, worker_of
from tests.wire_llm import openai
from voxqueue.client import Client
from voxqueue.embedded import Stack
from voxqueue.jobs.kinds import Kind

pytestmark = pytest.mark.acceptance

_WAIT_S = 60
_FAKE = {"VOXQUEUE_ENGINES": "fake", "VOXQUEUE_WORKER_HEARTBEAT_S": "0.2"}
_HTTP = httpx.Client(timeout=20, trust_env=False)
_LLM = ("worker", "--stages", "llm")


@pytest.fixture(autouse=True, scope="module")
def _closing() -> Iterator[None]:
    yield
    _HTTP.close()


def ask(stack: Stack, path: str) -> dict[str, Any]:
    answer: dict[str, Any] = _HTTP.get(f"{stack.api_url}{path}").json()
    return answer


def until(stack: Stack, stage: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    give_up = time.monotonic() + _WAIT_S
    while True:
        report = ask(stack, f"/api/ready?stage={stage}")
        if condition(report):
            return report
        assert time.monotonic() < give_up, f"it did not come about: {report}"
        time.sleep(0.05)


def test_an_engine_that_hangs_when_idle_is_found_out_and_trusted_again() -> None:
    """No job is there to meet it: without proofs the first one would."""
    with openai("m") as server:
        env = {
            "VOXQUEUE_LLM_ENGINES": "openai",
            "VOXQUEUE_OPENAI_URL": server.url,
            "VOXQUEUE_WORKER_PROVE_S": "1",
        }
        with answering(env, [_LLM]) as stack, Client(stack.api_url) as client:
            until(stack, "llm", lambda report: report["ready"])
            server.gate.clear()
            failed = until(stack, "llm", lambda report: not report["ready"])
            assert (failed["state"], failed["services"]["llm"]["status"]) == ("ERROR", "failed")
            assert "has not answered a tiny request" in failed["errors"][0]
            server.gate.set()
            until(stack, "llm", lambda report: report["ready"])
            assert client.wait(client.send_text("Hello", kind=Kind.REPLY), timeout=_WAIT_S).state == "succeeded"
            assert len(list(client.jobs())) == 1, "proofs are no jobs"


# Its consumer hangs at one signal and goes on at another. Celery leaves these two alone.
_HANGABLE = """
import signal, time
from voxqueue.stages import Stage
from workers.main import run_worker

def hang(*_):
    # The consumer's loop runs in the main thread, and so does this.
    while not released:
        time.sleep(0.05)

released = []
signal.signal(signal.SIGRTMIN, hang)
signal.signal(signal.SIGRTMAX, lambda *_: released.append(1))
raise SystemExit(run_worker([Stage.LLM], "hangable"))
"""


def test_a_worker_whose_consumer_hangs_counts_as_failed_until_it_goes_on() -> None:
    """Its engines are warm and its heartbeat goes on, but it would take no job."""
    with answering(_FAKE) as stack, worker_of(stack, ("-c", _HANGABLE)) as process:
        until(stack, "llm", lambda report: report["ready"])
        process.send_signal(signal.SIGRTMIN)
        hung = until(stack, "llm", lambda report: not report["ready"])
        assert hung["workers"]["total"] == 1, "it is there, and says so"
        assert "consumer has hung" in hung["errors"][0]
        process.send_signal(signal.SIGRTMAX)
        until(stack, "llm", lambda report: report["ready"])


def test_progress_never_goes_back_when_the_worker_dies_on_the_way() -> None:
    seen: list[tuple[bool, int]] = []
    with openai("m") as server:
        server.gate.clear()
        env = {
            "VOXQUEUE_STT_ENGINES": "fake",
            "VOXQUEUE_LLM_ENGINES": "openai",
            "VOXQUEUE_OPENAI_URL": server.url,
            "VOXQUEUE_WORKER_HEARTBEAT_S": "0.2",
        }
        with answering(env, [("worker", "--stages", "stt,llm")]) as stack:
            over = threading.Event()

            def watch() -> None:
                while not over.wait(0.02):
                    report = ask(stack, "/api/ready?stage=llm")
                    seen.append((report["ready"], report["progress"]))

            watching = threading.Thread(target=watch)
            watching.start()
            try:
                until(stack, "llm", lambda report: report["state"] == "WARMING_UP")
                os.kill(stack.process("worker-1"), signal.SIGKILL)
                server.gate.set()
                until(stack, "llm", lambda report: report["ready"])
            finally:
                over.set()
                watching.join()
    progress = [percent for _, percent in seen]
    assert progress == sorted(progress)
    assert progress[0] < 100
    assert all((percent == 100) == ready for ready, percent in seen)


def test_the_fourth_start_says_how_long_it_takes() -> None:
    env = {**_FAKE, "VOXQUEUE_FAKE_LOAD_MS": "2000"}
    with answering(env, [_LLM]) as stack:
        for starts in range(1, 4):
            until(stack, "llm", lambda report: report["ready"])
            kept = ask(stack, "/api/ready/history")
            while not kept["starts"] or kept["starts"][0]["starts"] < starts:
                time.sleep(0.05)
                kept = ask(stack, "/api/ready/history")
            os.kill(stack.process("worker-1"), signal.SIGTERM)
            until(stack, "llm", lambda report: not report["ready"])
        assert kept["starts"][0]["load_ms"]["p50"] == pytest.approx(2000, abs=500)
        eta = until(stack, "llm", lambda report: report["eta_s"] is not None)["eta_s"]
        assert 0 < eta["p50"] <= eta["p90"] < 10
        ready = until(stack, "llm", lambda report: report["ready"])
        assert ready["eta_s"] is None
        [worker] = [one for one in ask(stack, "/api/system/info")["workers"] if one["stages"]]
        assert worker["machine"]["host_class"] == kept["starts"][0]["host_class"]
