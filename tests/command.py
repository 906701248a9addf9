"""The command line as a process, with nothing of this process's settings."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def voxqueue(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, in the root of the repository."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("VOXQUEUE_")}
    argv = [sys.executable, "-m", "voxqueue", *words]
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT, env={**ours, **env})


def one_line(text: str) -> str:
    """Check that what was said is an error in one line; returns it."""
    assert text.count("\n") == 1, text
    assert text.startswith("Error: "), text
    return text
