"""The text-to-speech engines on transformers, with tiny models, and what tests do with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.models.pocket import make_pocket
from tests.models.vibevoice import make_vibevoice
from tests.models.vits import make_vits
from tests.models.voices import make_voices
from voxqueue.settings import ModelsSettings, PocketSettings, Settings, VibevoiceSettings, VitsSettings
from voxqueue.stages import Samples
from workers.engines.tts.pocket_tts import PocketTtsEngine
from workers.engines.tts.speaking import Piece, SpeakingEngine, Spoken
from workers.engines.tts.vibevoice import VibevoiceEngine
from workers.engines.tts.vits import VitsEngine

ALIKE = 1e-5
"""Most difference between samples that should be equal, at a full scale of 1. Other voices differ by over 1e-4."""

ON_CPU = ModelsSettings(device="cpu")
TEXTS = ("Hello.", "This is a longer sentence that I would like to hear.", "Ok then, be it so.")


def make_all(folder: Path) -> Path:
    make_pocket(folder / "pocket", ends_above=0.0)
    make_vibevoice(folder / "vibevoice")
    make_vits(folder / "vits-en", speakers=3)
    make_vits(folder / "vits-de")
    make_voices(folder / "voices")
    return folder


def pocket(folder: Path, **own: Any) -> PocketTtsEngine:
    model, codec = folder / "pocket" / "model", folder / "pocket" / "codec"
    named = {"model": str(model), "codec": str(codec), "voices_dir": folder / "voices", **own}
    return PocketTtsEngine(Settings(models=ON_CPU, pocket=PocketSettings.model_validate(named)))


def vibevoice(folder: Path, **own: Any) -> VibevoiceEngine:
    named = {"model": str(folder / "vibevoice"), "voices_dir": folder / "voices", **own}
    return VibevoiceEngine(Settings(models=ON_CPU, vibevoice=VibevoiceSettings.model_validate(named)))


def vits(folder: Path, **models: Path) -> VitsEngine:
    named = {tag: str(model) for tag, model in (models or {"en": folder / "vits-en", "de": folder / "vits-de"}).items()}
    return VitsEngine(Settings(models=ON_CPU, vits=VitsSettings(models=named)))


def spoken(engine: SpeakingEngine, pieces: Sequence[Piece]) -> list[Spoken]:
    answers = engine.run(pieces)
    assert len(answers) == len(pieces)
    assert all(isinstance(answer, Spoken) for answer in answers), answers
    return [answer for answer in answers if isinstance(answer, Spoken)]


def pieces_of(engine: SpeakingEngine) -> list[Piece]:
    """Every text in two voices, mixed."""
    voices = [voice for voice in engine.voices() if voice.language in (None, engine.languages[0])][:2]
    return [Piece(text, engine.languages[0], voice.name) for text in TEXTS for voice in voices]


def difference(one: Samples, other: Samples) -> float:
    assert one.shape == other.shape
    return float(np.abs(one - other).max())
