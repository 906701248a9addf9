"""What `make` says before it installs anything."""

import subprocess
from pathlib import Path

import pytest

from tests.command import ROOT

pytestmark = pytest.mark.unit


def make(folder: Path, python: Path) -> subprocess.CompletedProcess[str]:
    argv = ["make", "-s", "demo", f"VENV={folder}/venv", f"PYTHON={python}"]
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT)


@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_a_python_that_will_not_do_is_refused_at_once_with_those_that_will(tmp_path: Path, version: str) -> None:
    """For 3.13 there is no Redis in a wheel, which one would else learn after a minute of installing."""
    python = tmp_path / f"python{version}"
    python.write_text(f"#!/bin/sh\necho {version}\n")
    python.chmod(0o755)
    ran = make(tmp_path, python)
    assert ran.returncode == 2
    assert f"Python 3.11 or 3.12, and {python} is {version}." in ran.stderr
    assert "make demo PYTHON=python3.11" in ran.stderr
    assert list(tmp_path.iterdir()) == [python], "nothing has been made or installed"


def test_a_python_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    assert "is not there. Choose another" in make(tmp_path, tmp_path / "python3.11").stderr
