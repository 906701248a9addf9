"""Commands that send and show jobs: what they print where, and the status they end with."""

import json
from pathlib import Path

import pytest

from tests.command import one_line, voxqueue
from tests.wire import JOB_ID, Asked, Said, Wire, fleet, job, serving
from voxqueue.cli.job import conclude
from voxqueue.client import Client, quiet

pytestmark = pytest.mark.integration


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
    states = iter([job("queued", "stt"), job("queued", "stt"), None, job("running", "stt"), job("running", "stt")])

    def answer(asked: Asked) -> Said:
        if asked.path == "/api/ready":
            return Said.json(fleet("INITIALIZING"), 503)
        said = next(states, job("succeeded"))
        return Said.json(said) if said else Said.problem(503, "unavailable", "The database does not answer.")

    with serving(answer) as wire, Client(wire.url) as client:
        conclude(client, client.job(JOB_ID), wait=True, timeout=20, save=None, as_json=False)
    told = capsys.readouterr().err
    assert "nothing new for 0 s: no worker has stt warm, as `voxqueue ready check` explains" in told
    assert "The database does not answer." in told
    assert "nothing new for 0 s: it is running" in told


@pytest.mark.parametrize(("warm", "why"), [(False, "no worker has stt warm"), (True, "it is queued")])
def test_a_wait_that_is_over_says_what_the_job_waits_for(warm: bool, why: str) -> None:
    """Where no worker is warm, waiting for longer is bad advice."""

    def answer(asked: Asked) -> Said:
        if asked.path == "/api/ready":
            return Said.json(fleet("READY" if warm else "ERROR"), 200 if warm else 503)
        return Said.json(job("queued", "stt", audio=None), 202 if asked.method == "POST" else 200)

    with serving(answer) as wire:
        ran = voxqueue("send", "--text", "hello", "--wait", "--timeout", "0.1", "--url", wire.url)
        [asked] = [asked for asked in wire.asked if asked.path == "/api/ready"]
    assert ran.returncode == 1
    assert why in one_line(ran.stderr)
    assert ("voxqueue ready check" in ran.stderr, "longer?" in ran.stderr) == (not warm, warm)
    assert asked.query == {"stage": "stt", "min_warm": "1"}


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


def test_why_a_job_failed_is_said_once() -> None:
    states = iter([job("queued", "stt"), job("running", "llm")])
    broken = job("failed", "llm")
    broken["stages"][1]["reason"] = "It broke."
    with serving(lambda asked: Said.json(next(states, broken))) as wire:
        waited = voxqueue("send", "--text", "hello", "--wait", "--url", wire.url)
        looked = voxqueue("job", JOB_ID, "--url", wire.url)
    assert waited.returncode == 1
    assert "llm  running\n  llm  failed\n" in waited.stderr
    assert (waited.stdout + waited.stderr).count("It broke.") == 1
    assert (looked.stdout + looked.stderr).count("It broke.") == 1


def test_jobs_are_listed_a_line_for_each() -> None:
    long = {"text": "good morning\n" * 20}
    found = [job("failed", "llm"), job("running", "tts", audio=None), job(), job(transcript=long)]

    def answer(asked: Asked) -> Said:
        at = int(asked.query.get("cursor", "0"))
        some = found[at : at + 2]
        return Said.json({"jobs": some, "next_cursor": str(at + 2) if at + 2 < len(found) else None})

    with serving(answer) as wire:
        ran = voxqueue("jobs", "--state", "failed", "--kind", "voice_note", "--url", wire.url)
        assert wire.asked[0].query == {"state": "failed", "kind": "voice_note", "limit": "20"}
        assert len(json.loads(voxqueue("jobs", "--limit", "3", "--json", "--url", wire.url).stdout)) == 3
    start = f"{JOB_ID}  2026-11-21T01:44:51Z  voice_note     "
    lines = ran.stdout.splitlines()
    assert lines[:3] == [
        f"{start}failed     at llm: The engine failed",
        f"{start}running    at tts, 66 %",
        f"{start}succeeded  good morning",
    ]
    assert len(lines) == 4, "what was said on several lines"
    assert lines[3].endswith("…")


def test_without_jobs_the_list_says_so() -> None:
    with serving(lambda asked: Said.json({"jobs": [], "next_cursor": None})) as wire:
        ran = voxqueue("jobs", "--url", wire.url)
        assert (ran.returncode, ran.stdout) == (0, "")
        assert "voxqueue send" in ran.stderr
        assert "no such jobs" in voxqueue("jobs", "--state", "failed", "--url", wire.url).stderr


def test_a_job_is_canceled_and_deleted() -> None:
    def answer(asked: Asked) -> Said:
        return Said(204) if asked.method == "DELETE" else Said.json(job("canceled", "llm"))

    with serving(answer) as wire:
        ran = voxqueue("job", "cancel", JOB_ID, "--url", wire.url)
        assert (ran.returncode, "canceled" in ran.stdout) == (0, True)
        assert json.loads(voxqueue("job", "cancel", JOB_ID, "--json", "--url", wire.url).stdout)["id"] == JOB_ID
        ran = voxqueue("job", "delete", JOB_ID, "--url", wire.url)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", f"Job {JOB_ID} is deleted.\n")
        assert [(asked.method, asked.path) for asked in wire.asked] == [
            ("POST", f"/v1/jobs/{JOB_ID}/cancel"),
            ("POST", f"/v1/jobs/{JOB_ID}/cancel"),
            ("DELETE", f"/v1/jobs/{JOB_ID}"),
        ]


def test_a_transcript_is_printed_alone(tmp_path: Path) -> None:
    """What is printed goes into a file as it stands."""
    subtitles = "1\n00:00:00,000 --> 00:00:03,400\ngood\x1b[2J morning\n"
    note = tmp_path / "note.ogg"
    note.write_bytes(b"OggS")

    def answer(asked: Asked) -> Said:
        if asked.path.endswith("/transcript"):
            return Said(body=subtitles.encode())
        return Said.json(job("queued", "stt", transcript=None), 202) if asked.method == "POST" else Said.json(job())

    with serving(answer) as wire:
        for words in (("job", JOB_ID), ("send", str(note))):
            ran = voxqueue(*words, "--transcript", "srt", "--url", wire.url)
            assert (ran.returncode, ran.stdout) == (0, subtitles.replace("\x1b", "")), words
            assert (wire.asked[-1].path, wire.asked[-1].query) == (f"/v1/jobs/{JOB_ID}/transcript", {"format": "srt"})
        sent = len(wire.asked)
        for refused in (("--transcript", "srt", "--json"), ("--transcript", "doc")):
            assert voxqueue("send", str(note), *refused, "--url", wire.url).returncode == 2
        assert voxqueue("send", "--text", "hello", "--transcript", "srt", "--url", wire.url).returncode == 2
        assert len(wire.asked) == sent, "refused before anything is sent"


def test_a_job_without_a_transcript_says_why_there_is_none() -> None:
    with serving(lambda asked: Said.json(job("failed", "stt", transcript=None))) as wire:
        ran = voxqueue("job", JOB_ID, "--transcript", "text", "--url", wire.url)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert "failed at stt: It broke." in one_line(ran.stderr)


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
