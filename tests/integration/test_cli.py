"""The command line as a process: what it prints where, and the status it ends with."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire import JOB_ID, Asked, Said, Wire, fleet, job, serving
from voxqueue.cli.job import conclude
from voxqueue.cli.settings import groups, reference
from voxqueue.client import Client, quiet
from voxqueue.embedded import embedded_redis
from voxqueue.embedded.processes import free_port
from voxqueue.settings import Settings

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def voxqueue(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("VOXQUEUE_")}
    argv = [sys.executable, "-m", "voxqueue", *words]
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT, env={**ours, **env})


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    assert text.startswith("Error: "), text
    return text


@pytest.fixture
def nobody() -> str:
    """An address where nobody answers."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A warm fleet where every job has already succeeded, but those whose text says otherwise."""

    def answer(asked: Asked) -> Said:
        if asked.path == "/api/ready":
            return Said.json(fleet())
        if asked.path.endswith("/audio"):
            return Said(body=b"speech")
        if asked.method == "POST" and b"bad" in asked.body:
            return Said.problem(422, "invalid-request", "This text\nis bad.")
        if asked.method == "POST":
            return Said.json(job("queued", "stt", audio=None), 202)
        return Said(204) if asked.method == "DELETE" else Said.json(job())

    with serving(answer) as wire:
        yield wire


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_send_prints_the_job_and_how_to_follow_it(wire: Wire) -> None:
    ran = voxqueue("send", "--text", "hello", "--url", wire.url)
    assert ran.returncode == 0, ran.stderr
    assert JOB_ID in ran.stdout
    assert f"voxqueue job {JOB_ID} --wait" in ran.stderr
    assert json.loads(wire.asked[0].body) == {"text": "hello"}


def test_send_hands_on_how_a_note_is_to_be_heard(wire: Wire, tmp_path: Path) -> None:
    note = tmp_path / "note.ogg"
    note.write_bytes(b"OggS")
    asked = ("--task", "translate", "--prompt", "Zwieback", "--hotwords", "Brioche", "--words")
    assert voxqueue("send", str(note), *asked, "--url", wire.url).returncode == 0
    for field in (b'"task"', b"translate", b'"prompt"', b"Zwieback", b'"hotwords"', b"Brioche", b'"word_timestamps"'):
        assert field in wire.asked[0].body
    assert voxqueue("send", "--text", "hello", *asked, "--url", wire.url).returncode == 2, "a text is not heard"


def test_send_hands_on_priority_metadata_and_the_callers_own_name(wire: Wire) -> None:
    words = ("--priority", "high", "--metadata", "chat=42", "--metadata", "note=a=b", "--idempotency-key", "note-1")
    ran = voxqueue("send", "--text", "hello", *words, "--url", wire.url)
    assert ran.returncode == 0, ran.stderr
    asked = wire.asked[0]
    assert json.loads(asked.body) == {"text": "hello", "priority": "high", "metadata": {"chat": "42", "note": "a=b"}}
    assert {name.lower(): value for name, value in asked.headers.items()}["idempotency-key"] == "note-1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("send", "--text", "hi", "--metadata", "chat"), "'chat' is no KEY=VALUE"),
        (("keys", "create", "--name", "x", "--days", "soon"), "'--days': must be a number"),
        (("keys", "create", "--name", "x", "--days", "0"), "'--days': must be at least 0.001"),
        (("webhooks", "deliveries", "--limit", "x"), "'--limit': must be a whole number"),
        (("up", "--port", "99999"), "'--port': must be at most 65535"),
        (("worker", "--stages", "asr"), "'asr' is no stage; the stages are stt, llm, tts"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_in_plain_words(words: tuple[str, ...], said: str) -> None:
    ran = voxqueue(*words)
    assert ran.returncode == 2
    assert said in ran.stderr
    assert f"voxqueue {words[0]}" in ran.stderr, "it names the command that was given"
    assert "Input should" not in ran.stderr


def test_voices_are_listed() -> None:
    voices = [{"name": "anna", "language": "de", "engine": "e", "model": "m"}, {"name": "zoe", "language": None}]
    answers = iter([{"voices": voices}, {"voices": voices}, {"voices": []}])
    with serving(lambda asked: Said.json(next(answers))) as wire:
        plain = voxqueue("voices", "--language", "de", "--url", wire.url)
        as_json = voxqueue("voices", "--json", "--url", wire.url)
        none = voxqueue("voices", "--url", wire.url)
    assert [line.split()[:2] for line in plain.stdout.splitlines()] == [["anna", "de"], ["zoe", "(several)"]]
    assert [voice["name"] for voice in json.loads(as_json.stdout)] == ["anna", "zoe"]
    assert (none.returncode, none.stdout) == (0, "")
    assert "voxqueue ready check" in none.stderr


def test_send_with_save_waits_and_stores_the_speech(wire: Wire, tmp_path: Path) -> None:
    note, reply = tmp_path / "note.ogg", tmp_path / "reply.ogg"
    note.write_bytes(b"OggS")
    ran = voxqueue("send", str(note), "--save", str(reply), "--json", VOXQUEUE_URL=wire.url)
    assert ran.returncode == 0, ran.stderr
    shown = json.loads(ran.stdout)
    assert (shown["state"], shown["audio_path"]) == ("succeeded", str(reply))
    assert reply.read_bytes() == b"speech"
    assert "tts  done in 8 ms by fake" in ran.stderr


def test_a_job_is_shown_with_what_it_has_made(wire: Wire) -> None:
    ran = voxqueue("job", JOB_ID, "--url", wire.url)
    assert ran.returncode == 0, ran.stderr
    for words in ("succeeded", "good morning", "good morning to you", f"{wire.url}/v1/jobs/{JOB_ID}/audio"):
        assert words in ran.stdout


def test_a_job_is_shown_by_its_id_alone_wherever_the_options_stand(wire: Wire) -> None:
    for words in ((JOB_ID, "--json"), ("--json", JOB_ID), ("show", "--json", JOB_ID)):
        ran = voxqueue("job", *words, VOXQUEUE_URL=wire.url)
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout)["id"] == JOB_ID


def test_waiting_says_why_nothing_happens(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Else the command seems to hang while the API or Redis is away, or while there is no worker."""
    monkeypatch.setattr(quiet, "_FIRST_S", 0.0)
    states = iter([job("queued", "stt"), None, job("running", "stt"), job("running", "stt")])

    def answer(asked: Asked) -> Said:
        said = next(states, job("succeeded"))
        return Said.json(said) if said else Said.problem(503, "unavailable", "The database does not answer.")

    with serving(answer) as wire, Client(wire.url) as client:
        conclude(client, client.job(JOB_ID), wait=True, timeout=20, save=None, as_json=False)
    told = capsys.readouterr().err
    assert "The database does not answer." in told
    assert "running, and nothing new" in told


def test_a_job_is_tried_again_and_waited_for(wire: Wire) -> None:
    ran = voxqueue("job", "retry", JOB_ID, "--wait", "--url", wire.url)
    assert ran.returncode == 0, ran.stderr
    assert "succeeded" in ran.stdout
    assert [(asked.method, asked.path) for asked in wire.asked] == [
        ("POST", f"/v1/jobs/{JOB_ID}/retry"),
        ("GET", f"/v1/jobs/{JOB_ID}"),
    ]


def test_a_job_that_failed_ends_a_waiting_command_with_status_1() -> None:
    with serving(lambda asked: Said.json(job("failed", "llm"))) as wire:
        assert voxqueue("job", JOB_ID, "--url", wire.url).returncode == 0, "to look is no failure"
        ran = voxqueue("job", JOB_ID, "--wait", "--json", "--url", wire.url)
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["state"] == "failed"
    assert f"Error: Job {JOB_ID} failed at llm: It broke." in ran.stderr


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    nasty = job(reply={"text": "\x1b]0;owned\x07\x1b[2Jhello"})
    with serving(lambda asked: Said.json(nasty)) as wire:
        ran = voxqueue("job", JOB_ID, "--url", wire.url)
    assert "hello" in ran.stdout
    assert not {"\x1b", "\x07"} & set(ran.stdout)


def test_errors_are_one_line_and_no_traceback(wire: Wire, nobody: str, tmp_path: Path) -> None:
    refused = voxqueue("send", "--text", "bad", "--url", wire.url)
    assert refused.returncode == 1
    assert "This text" in refused.stderr
    assert "Traceback" not in refused.stderr
    unreachable = voxqueue("send", "--text", "hello", "--url", nobody)
    assert unreachable.returncode == 3
    assert "voxqueue up" in one_line(unreachable.stderr)
    assert "is no address" in one_line(voxqueue("job", JOB_ID, "--url", "nowhere").stderr)
    assert "is no job id" in one_line(voxqueue("job", "../x", "--url", wire.url).stderr)
    no_folder = voxqueue("job", JOB_ID, "--save", str(tmp_path / "none" / "reply.ogg"), "--url", wire.url)
    assert no_folder.returncode == 2
    assert "there is no folder" in no_folder.stderr
    assert voxqueue("send", "--url", wire.url).returncode == 2, "neither a note nor a text"


# --- readiness --------------------------------------------------------------------------------------------------------


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


# --- processes --------------------------------------------------------------------------------------------------------


def test_flower_without_a_password_stays_on_loopback() -> None:
    redis = {"VOXQUEUE_REDIS_URL": "redis://127.0.0.1:1/0"}
    for address in ("0.0.0.0", "::", "10.1.2.3", "example.org"):  # noqa: S104 - refused
        ran = voxqueue("flower", "--address", address, **redis)
        assert ran.returncode == 1
        assert "VOXQUEUE_FLOWER_BASIC_AUTH=user:password" in one_line(ran.stderr)
    for password in ("secret", ":secret", "user:", "a:b,c"):
        ran = voxqueue("flower", VOXQUEUE_FLOWER_BASIC_AUTH=password, **redis)
        assert ran.returncode == 1
        assert password not in one_line(ran.stderr).replace("user:password", "")


def test_flower_wants_its_password_and_keeps_it_off_the_command_line(tmp_path: Path) -> None:
    import httpx

    port = free_port()
    with embedded_redis(tmp_path) as url:
        env = {**os.environ, "VOXQUEUE_REDIS_URL": url, "VOXQUEUE_FLOWER_BASIC_AUTH": "operator:geheim"}
        flower = subprocess.Popen([sys.executable, "-m", "voxqueue", "flower", "--port", str(port)], env=env)
        try:
            page = f"http://127.0.0.1:{port}/api/workers"
            give_up = time.monotonic() + 30
            while True:
                try:
                    status = httpx.get(page, trust_env=False).status_code
                    break
                except httpx.TransportError:
                    assert time.monotonic() < give_up
                    time.sleep(0.1)
            assert status == 401
            allowed = httpx.get(page, auth=("operator", "geheim"), trust_env=False)
            assert (allowed.status_code, allowed.json()) == (200, {})
            command = Path(f"/proc/{flower.pid}/cmdline").read_text()
            assert "flower" in command
            assert "geheim" not in command
            assert url not in command
        finally:
            flower.terminate()
            assert flower.wait(20) == 0


@pytest.mark.parametrize("role", ["worker", "courier"])
def test_a_folder_of_the_users_is_not_taken_for_ours(role: str, tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    env = {name: value for name, value in os.environ.items() if not name.startswith("VOXQUEUE_")}
    ran = subprocess.run(
        [Path(sys.executable).with_name("voxqueue"), role],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=env,
    )
    assert "the wrong one" not in ran.stderr
    assert ran.returncode != 0
    assert "VOXQUEUE_" in ran.stderr, "it got as far as missing its servers"


def test_migrate_without_a_database_says_what_to_set() -> None:
    ran = voxqueue("migrate")
    assert ran.returncode == 1
    assert "VOXQUEUE_DATABASE_URL" in one_line(ran.stderr)
    ran = voxqueue("migrate", VOXQUEUE_DATABASE_URL=f"postgresql://u:p@127.0.0.1:{free_port()}/x")
    assert ran.returncode == 1
    assert "Connection refused" in one_line(ran.stderr)
    assert ":p@" not in ran.stderr, "no password"
    assert "postgresql://" in one_line(voxqueue("migrate", VOXQUEUE_DATABASE_URL="mysql://u:p@127.0.0.1/x").stderr)


# --- settings, help, make ---------------------------------------------------------------------------------------------


def test_the_settings_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "settings.md").read_text()
    assert written == reference(), "run: voxqueue settings --markdown > docs/settings.md"


def test_the_settings_reference_does_not_depend_on_the_environment() -> None:
    ran = voxqueue("settings", "--markdown", VOXQUEUE_DATABASE_URL="postgres://me", VOXQUEUE_LIMITS_TEXT_CHARS="7")
    assert ran.stdout == reference()


def test_every_setting_says_what_it_does() -> None:
    silent = [it.variable for group in groups(Settings()) for it in group.settings if not it.description]
    assert silent == []


def test_settings_in_force_are_shown_without_secrets() -> None:
    ran = voxqueue(
        "settings",
        VOXQUEUE_DATABASE_URL="postgresql://user:geheim@host/name",
        VOXQUEUE_REDIS_URL="redis://:ge/he@im@host/0",
        VOXQUEUE_S3_SECRET_ACCESS_KEY="geheim",
        VOXQUEUE_FLOWER_BASIC_AUTH="operator:geheim",
        VOXQUEUE_STT_ENGINES="fake, pocketsphinx",
    )
    assert ran.returncode == 0, ran.stderr
    assert "geheim" not in ran.stdout
    assert "he@im" not in ran.stdout
    assert "VOXQUEUE_DATABASE_URL=postgresql://user:***@host/name" in ran.stdout
    assert "VOXQUEUE_STT_ENGINES=fake,pocketsphinx   [default: faster_whisper,pocketsphinx]" in ran.stdout


def test_a_wrong_setting_is_named() -> None:
    ran = voxqueue("migrate", VOXQUEUE_LIMITS_TEXT_CHARS="many", VOXQUEUE_LOG_LEVEL="loud")
    assert ran.returncode == 1
    assert "VOXQUEUE_LIMITS_TEXT_CHARS" in one_line(ran.stderr)
    assert "VOXQUEUE_LOG_LEVEL" in ran.stderr


@pytest.mark.parametrize("command", ["up", "api", "worker", "courier", "flower"])
def test_a_setting_that_cannot_be_ends_every_process_with_one_line(command: str) -> None:
    """Else a supervisor would start it again for ever, with nobody the wiser."""
    ran = voxqueue(command, VOXQUEUE_READY_CRITICAL="stt,ears")
    assert ran.returncode in (1, 2)
    assert "VOXQUEUE_READY_CRITICAL: knows no stage ears" in one_line(ran.stderr)


def test_help_imports_no_more_than_it_needs() -> None:
    heavy = "{'numpy', 'httpx', 'sqlalchemy', 'celery', 'pydantic', 'rich', 'redis'}"
    code = f"import sys, voxqueue.cli.main; print(sorted({heavy} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout.strip() == "[]"
    shown = voxqueue("--help")
    assert shown.returncode == 0
    for command in ("up", "demo", "send", "job", "ready", "api", "worker", "courier", "flower", "migrate", "settings"):
        assert f"\n  {command} " in shown.stdout


def make(*words: str) -> subprocess.CompletedProcess[str]:
    # Not what the make that runs these tests hands on: its flags and its level, which show in the output.
    ours = ("NOTE", "JSON", "ARGS", "MAKE", "MFLAGS")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    argv = [shutil.which("make") or "make", *words]
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30, cwd=ROOT, env=env)


def test_make_prints_what_there_is() -> None:
    ran = make()
    assert ran.returncode == 0, ran.stderr
    named = [line.split()[1] for line in ran.stdout.splitlines()]
    assert named == ["setup", "demo", "up", "test", "check", "bench", "soak", "fault", "clean"]


def test_make_demo_sets_itself_up_without_model_runtimes(tmp_path: Path) -> None:
    ran = make("-n", "demo", f"VENV={tmp_path / 'venv'}")
    assert ran.returncode == 0, ran.stderr
    steps = ran.stdout
    assert steps.index("-m venv") < steps.index("'.[embedded]'") < steps.index("voxqueue demo")
    assert "-c constraints.txt" in steps
    assert "models" not in steps


def test_make_names_a_python_that_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    ran = make("demo", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}")
    assert ran.returncode != 0
    assert ran.stdout == ""
    assert f"Voxqueue needs Python 3.11 or newer, and {old} is not" in ran.stderr
