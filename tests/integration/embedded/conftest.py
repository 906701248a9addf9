"""A folder that Postgres can live in, and the children that this process has since the test began."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not ``tmp_path``: another pytest that starts meanwhile closes its parents to the user that Postgres runs as."""
    made = Path(tempfile.mkdtemp(prefix="vq-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def started() -> Callable[[], set[psutil.Process]]:
    """Tells the children that this process has since the test began; other tests' servers may be there all along."""
    before = set(psutil.Process().children())
    return lambda: set(psutil.Process().children()) - before
