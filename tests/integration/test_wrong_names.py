"""Wrong names in the environment of real processes: what ends them, and what they only warn of."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest

from tests.recordings import recording, tone
from voxqueue.client import Client
from voxqueue.embedded.processes import free_port
from voxqueue.serving import SERVER

pytestmark = pytest.mark.integration

_LONGEST_S = 180
_MISSPELT = {"VOXQUEUE_STT_ENGINE": "geheim", "VOXQUEUE_WHISPER_MODELL": "geheim"}
_SAID = (
    "VOXQUEUE_STT_ENGINE is no setting and does nothing. Did you mean VOXQUEUE_STT_ENGINES?",
    "VOXQUEUE_WHISPER_MODELL is no setting and does nothing. Did you mean VOXQUEUE_WHISPER_MODEL?",
)
_NOWHERE = {
    "VOXQUEUE_DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/none",
    "VOXQUEUE_REDIS_URL": "redis://127.0.0.1:1/0",
    "VOXQUEUE_LOG_FORMAT": "json",
}


@contextmanager
def running(*words: str, folder: Path, **env: str) -> Iterator[subprocess.Popen[str]]:
    """``python -m`` these words, in a folder of its own, with nothing of ours in its environment but this. Both of its
    streams are one. It is told to end when the block does."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("VOXQUEUE_")}
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**others, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        watchdog = Timer(_LONGEST_S, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None
            process.stdout.read()  # else it hangs at a full pipe
            process.wait()
            watchdog.cancel()


def lines_until(process: subprocess.Popen[str], words: str) -> list[str]:
    """What it says up to the line with these words."""
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"it ended without {words!r}: {''.join(lines)}")


@pytest.mark.parametrize(
    "words",
    [*(("voxqueue", command) for command in ("up", "demo", "worker", "models")), SERVER],
    ids=["up", "demo", "worker", "models", "api"],
)
def test_an_engine_that_does_not_exist_ends_whoever_would_start_it(words: tuple[str, ...], tmp_path: Path) -> None:
    """Else a worker is in ERROR for ever, and a supervisor none the wiser; a bare server would show a traceback."""
    with running(*words, folder=tmp_path, VOXQUEUE_STT_ENGINES="wisper") as process:
        assert process.stdout is not None
        said = process.stdout.read()
    assert process.returncode in (1, 2)
    assert said.count("\n") == 1, said
    assert said.startswith("Error: No stt engine is called 'wisper'. Did you mean faster_whisper?")
    assert list(tmp_path.iterdir()) == [], "and nothing was begun"


@pytest.mark.parametrize(
    "words", [("voxqueue", "worker"), ("voxqueue", "courier"), SERVER], ids=["worker", "courier", "api"]
)
def test_a_process_warns_in_its_log_of_variables_that_are_no_settings(words: tuple[str, ...], tmp_path: Path) -> None:
    """A warning and no more: the environment of a newer version must not stop an older one."""
    port = ("--port", str(free_port())) if words is SERVER else ()
    with running(*words, *port, folder=tmp_path, **_NOWHERE, **_MISSPELT, VOXQUEUE_STORAGE_DIR=".") as process:
        log = lines_until(process, _SAID[1])
    warned = [line for line in log if "is no setting" in line]
    assert len(warned) == len(_SAID)
    for line, said in zip(warned, _SAID, strict=True):
        assert said in line
        assert '"level": "warning"' in line
    assert "geheim" not in "".join(log)


def test_demo_and_settings_warn_before_anything_else(tmp_path: Path) -> None:
    for command in ("demo", "settings"):
        with running("voxqueue", command, folder=tmp_path, **_MISSPELT) as process:
            assert lines_until(process, _SAID[1]) == [f"Warning: {said}\n" for said in _SAID]


def test_up_warns_once_however_many_processes_it_has_and_a_job_tells_what_was_ignored(tmp_path: Path) -> None:
    """Its processes share a terminal. Without a language model, instructions do nothing, and the job says so."""
    port = free_port()
    env = {**_MISSPELT, "VOXQUEUE_STT_ENGINES": "fake", "VOXQUEUE_LLM_ENGINES": "echo", "VOXQUEUE_TTS_ENGINES": "fake"}
    with running("voxqueue", "up", "--no-flower", "--port", str(port), folder=tmp_path, **env) as process:
        said = lines_until(process, "ready after")
        with Client(f"http://127.0.0.1:{port}") as client:
            note = recording(tone(1.0), 16_000, "ogg")
            sent = client.send_note(note, instructions="Answer as a pirate.", language="de", audio_format="mp3")
            job = client.wait(sent, timeout=_LONGEST_S)
    assert [line for line in said if "is no setting" in line] == [f"Warning: {one}\n" for one in _SAID]
    assert job.degradations == ("llm: echo ignores instructions", "llm: echo answers in English, not in 'de'")
    assert (job.instructions, job.audio_format, job.language) == ("Answer as a pirate.", "mp3", "de")
