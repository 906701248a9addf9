"""What `make` says, and what it would do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.command import ROOT

pytestmark = pytest.mark.unit


def make(*words: str) -> subprocess.CompletedProcess[str]:
    # Not what the make that runs these tests hands on: its flags and its level, which show in the output.
    ours = ("NOTE", "JSON", "ARGS", "MAKE", "MFLAGS")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    argv = [shutil.which("make") or "make", *words]
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT, env=env)


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


@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_a_python_that_will_not_do_is_refused_at_once_with_those_that_will(tmp_path: Path, version: str) -> None:
    """For 3.13 there is no Redis in a wheel, which one would else learn after a minute of installing."""
    python = tmp_path / f"python{version}"
    python.write_text(f"#!/bin/sh\necho {version}\n")
    python.chmod(0o755)
    ran = make("demo", f"VENV={tmp_path / 'venv'}", f"PYTHON={python}")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"Python 3.11 or 3.12, and {python} is {version}." in ran.stderr
    assert "make demo PYTHON=python3.11" in ran.stderr
    assert list(tmp_path.iterdir()) == [python], "nothing has been made or installed"


def test_a_python_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    ran = make("demo", f"VENV={tmp_path / 'venv'}", f"PYTHON={tmp_path / 'python3.11'}")
    assert ran.returncode == 2
    assert "is not there. Choose another" in ran.stderr
