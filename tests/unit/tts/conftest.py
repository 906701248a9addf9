"""The text-to-speech engines on transformers with tiny models, loaded once for each module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tts_engines import make_all, pocket, vibevoice, vits
from workers.engines.tts.pocket_tts import PocketTtsEngine
from workers.engines.tts.speaking import SpeakingEngine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_all(tmp_path_factory.mktemp("tts"))


@pytest.fixture(scope="module", params=[pocket, vibevoice, vits], ids=lambda make: make.__name__)
def engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[SpeakingEngine]:
    made: SpeakingEngine = request.param(folder)
    made.load()
    yield made
    made.close()


@pytest.fixture(scope="module")
def pocket_engine(folder: Path) -> Iterator[PocketTtsEngine]:
    made = pocket(folder)
    made.load()
    yield made
    made.close()
