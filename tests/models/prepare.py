"""What each engine needs before the contract tests can load it: settings, and a tiny model or a server at its wire.

An engine that is not listed needs nothing. To add one: a context manager that yields its settings, and a line below.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests import wire_llm
from tests.models.llm import make_llm
from tests.models.parakeet import make_parakeet
from tests.models.sentences import WHISPER
from tests.models.voices import make_voices
from voxqueue.settings import (
    LlmSettings,
    ModelsSettings,
    OllamaSettings,
    OpenaiSettings,
    ParakeetSettings,
    PocketSettings,
    Settings,
    TransformersSettings,
    VibevoiceSettings,
    VitsSettings,
    WhisperSettings,
)

Prepare = Callable[[Path], AbstractContextManager[Settings]]
"""Takes an empty folder for files, yields settings with which the engine loads."""


@contextmanager
def prepare_ollama(folder: Path) -> Iterator[Settings]:
    with wire_llm.ollama("tiny:latest") as server:
        yield Settings(ollama=OllamaSettings(url=server.url, model="tiny", parallel=2))


@contextmanager
def prepare_openai(folder: Path) -> Iterator[Settings]:
    with wire_llm.openai("tiny") as server:
        yield Settings(openai=OpenaiSettings(url=server.url, model="tiny", parallel=4))


@contextmanager
def prepare_transformers(folder: Path) -> Iterator[Settings]:
    yield Settings(
        llm=LlmSettings(reply_tokens=12),
        models=ModelsSettings(device="cpu"),
        transformers=TransformersSettings(model=str(make_llm(folder))),
    )


@contextmanager
def prepare_faster_whisper(folder: Path) -> Iterator[Settings]:
    yield Settings(models=ModelsSettings(device="cpu"), whisper=WhisperSettings(model=str(WHISPER)))


@contextmanager
def prepare_parakeet(folder: Path) -> Iterator[Settings]:
    model = make_parakeet(folder, "ctc", blank=1.0)
    yield Settings(models=ModelsSettings(device="cpu"), parakeet=ParakeetSettings(model=str(model)))


@contextmanager
def prepare_pocket_tts(folder: Path) -> Iterator[Settings]:
    from tests.models.pocket import make_pocket

    model, codec = make_pocket(folder)
    yield Settings(
        models=ModelsSettings(device="cpu"),
        pocket=PocketSettings(model=str(model), codec=str(codec), voices_dir=make_voices(folder / "voices")),
    )


@contextmanager
def prepare_vibevoice(folder: Path) -> Iterator[Settings]:
    from tests.models.vibevoice import make_vibevoice

    model = make_vibevoice(folder / "model")
    yield Settings(
        models=ModelsSettings(device="cpu"),
        vibevoice=VibevoiceSettings(model=str(model), voices_dir=make_voices(folder / "voices")),
    )


@contextmanager
def prepare_vits(folder: Path) -> Iterator[Settings]:
    from tests.models.vits import make_vits

    model = make_vits(folder / "model", speakers=2)
    yield Settings(models=ModelsSettings(device="cpu"), vits=VitsSettings(models={"en": str(model)}))


PREPARE: dict[str, Prepare] = {
    "faster_whisper": prepare_faster_whisper,
    "ollama": prepare_ollama,
    "openai": prepare_openai,
    "parakeet": prepare_parakeet,
    "pocket_tts": prepare_pocket_tts,
    "transformers": prepare_transformers,
    "vibevoice": prepare_vibevoice,
    "vits": prepare_vits,
}
