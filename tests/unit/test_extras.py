"""What messages say is to be installed exists, and comes from where it can be had."""

import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from voxqueue.errors import EngineUnusable
from voxqueue.extras import Extra, install
from voxqueue.settings import Settings
from voxqueue.stages import Stage
from workers.engines.registry import ENGINES, create_engine

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("extra", get_args(Extra))
def test_what_is_to_be_installed_exists(extra: Extra) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extra in extras
    assert f"'.[{extra}]'" in install(extra)
    assert "-c constraints.txt" in install(extra), "else pip picks a torch of several gigabytes"


NEEDS: dict[str, tuple[str, Extra]] = {
    "faster_whisper": ("faster_whisper", "models"),
    "parakeet": ("transformers", "models"),
    "pocketsphinx": ("pocketsphinx", "embedded"),
    "ollama": ("ollama", "llm"),
    "openai": ("openai", "llm"),
    "transformers": ("torch", "models"),
    "pocket_tts": ("transformers", "models"),
    "vibevoice": ("torch", "models"),
    "vits": ("torch", "models"),
    "espeak": ("espeakng_loader", "embedded"),
}


@pytest.mark.parametrize(
    ("stage", "name"), [(stage, name) for stage in Stage for name in ENGINES[stage] if name not in ("fake", "echo")]
)
def test_an_engine_whose_library_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, stage: Stage, name: str
) -> None:
    """As in the image `light`, which runs no models itself."""
    package, extra = NEEDS[name]
    monkeypatch.setitem(sys.modules, package, None)  # what Python does with one that is not installed
    with pytest.raises(EngineUnusable) as refused:
        create_engine(stage, name, Settings()).load()
    assert f"is not installed: {install(extra)}; for a container, " in refused.value.detail
    assert f"`{extra}`" in refused.value.detail.partition("for a container")[2]


def test_nobody_is_sent_to_a_package_index_for_voxqueue() -> None:
    """The name there is not ours: whoever followed such a message would install a stranger's program."""
    for folder in ("api", "voxqueue", "workers", "docs"):
        for path in (ROOT / folder).rglob("*.*"):
            if path.suffix in (".py", ".md"):
                assert "voxqueue[" not in path.read_text(), path
