"""What messages say is to be installed exists, and comes from where it can be had."""

import tomllib
from pathlib import Path
from typing import get_args

import pytest

from voxqueue.extras import Extra, install

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("extra", get_args(Extra))
def test_what_is_to_be_installed_exists(extra: Extra) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extra in extras
    assert f"'.[{extra}]'" in install(extra)
    assert "-c constraints.txt" in install(extra), "else pip picks a torch of several gigabytes"


def test_nobody_is_sent_to_a_package_index_for_voxqueue() -> None:
    """The name there is not ours: whoever followed such a message would install a stranger's program."""
    for folder in ("api", "voxqueue", "workers", "docs"):
        for path in (ROOT / folder).rglob("*.*"):
            if path.suffix in (".py", ".md"):
                assert "voxqueue[" not in path.read_text(), path
