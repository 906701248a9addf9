"""``voxqueue ready``: it tells the states of the fleet apart by its status."""

import json
import subprocess

import pytest

from tests.command import voxqueue
from tests.wire import Asked, Said, Wire, fleet, job, serving

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("state", "status"), [("READY", 0), ("WARMING_UP", 1), ("ERROR", 2)])
def test_ready_check_tells_the_states_apart(state: str, status: int) -> None:
    with serving(lambda asked: Said.json(fleet(state), 200 if status == 0 else 503)) as wire:
        ran = voxqueue("ready", "check", "--url", wire.url)
        as_json = voxqueue("ready", "check", "--json", "--url", wire.url)
    assert (ran.returncode, as_json.returncode) == (status, status)
    assert state in ran.stdout
    assert json.loads(as_json.stdout)["state"] == state


def test_ready_check_says_how_long_it_takes_where_that_is_known() -> None:
    report = fleet("LOADING_MODELS") | {"eta_s": {"p50": 12.4, "p90": 30.2}}
    with serving(lambda asked: Said.json(report, 503)) as wire:
        ran = voxqueue("ready", "check", "--url", wire.url)
    assert "about 12 s left, 30 s at most" in ran.stdout


def test_ready_commands_end_with_3_when_nobody_answers(nobody: str) -> None:
    for words in (("check",), ("test",), ("wait", "--timeout", "1")):
        ran = voxqueue("ready", *words, "--url", nobody)
        assert ran.returncode == 3, words
        assert nobody in ran.stderr


def test_ready_wait_sees_the_fleet_warm_up() -> None:
    states = iter(["INITIALIZING", "WARMING_UP", "READY"])
    with serving(lambda asked: Said.json(fleet(state := next(states)), 200 if state == "READY" else 503)) as wire:
        ran = voxqueue("ready", "wait", "--url", wire.url)
    assert ran.returncode == 0, ran.stderr
    assert [line.split(":")[0].strip() for line in ran.stderr.splitlines()] == ["INITIALIZING", "WARMING_UP", "READY"]


def test_ready_wait_gives_up_on_time_and_on_an_error() -> None:
    with serving(lambda asked: Said.json(fleet("LOADING_MODELS"), 503)) as wire:
        assert voxqueue("ready", "wait", "--timeout", "1", "--url", wire.url).returncode == 1
    with serving(lambda asked: Said.json(fleet("ERROR"), 503)) as wire:
        ran = voxqueue("ready", "wait", "--url", wire.url)
    assert ran.returncode == 2
    assert "stt: no model" in ran.stdout


def test_ready_test_sends_speech_through_every_stage_and_tidies_up(wire: Wire) -> None:
    ran = voxqueue("ready", "test", "--url", wire.url)
    assert ran.returncode == 0, ran.stderr
    posted = [asked for asked in wire.asked if asked.method == "POST"]
    assert [asked.path for asked in posted] == ["/v1/texts", "/v1/voice-notes"]
    assert json.loads(posted[0].body)["kind"] == "speech"
    assert b"speech" in posted[1].body, "the note is what the fleet has spoken"
    assert sum(asked.method == "DELETE" for asked in wire.asked) == 2


def test_ready_test_fails_when_the_job_fails_or_brings_too_little() -> None:
    def judge(result: dict[str, object]) -> subprocess.CompletedProcess[str]:
        def answer(asked: Asked) -> Said:
            if asked.path == "/api/ready":
                return Said.json(fleet())
            return Said(body=b"speech") if asked.path.endswith("/audio") else Said.json(result)

        with serving(answer) as wire:
            return voxqueue("ready", "test", "--url", wire.url)

    failed = judge(job("failed", "tts"))
    assert failed.returncode == 2
    assert "It broke." in failed.stderr
    mute = judge(job(transcript={"text": " "}))
    assert mute.returncode == 2
    assert "made no transcript" in mute.stderr


def test_ready_test_does_not_test_a_cold_fleet() -> None:
    with serving(lambda asked: Said.json(fleet("WARMING_UP"), 503)) as wire:
        ran = voxqueue("ready", "test", "--url", wire.url)
        assert all(asked.method == "GET" for asked in wire.asked)
    assert ran.returncode == 1
