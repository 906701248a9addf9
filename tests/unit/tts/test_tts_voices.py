"""The voices and languages of the text-to-speech engines on transformers, and how their models are loaded."""

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.engines import results
from tests.models.pocket import make_pocket
from tests.models.vits import make_vits
from tests.recordings import recording, tone
from tests.tts_engines import ALIKE, TEXTS, difference, make_all, pieces_of, pocket, spoken, vibevoice, vits
from voxqueue.audio import decode
from voxqueue.errors import EngineRefused, EngineUnusable
from voxqueue.settings import ModelsSettings, Settings
from voxqueue.stages import TtsRequest, TtsResult
from workers.engines.base import Voice
from workers.engines.tts.pocket_tts import PocketTtsEngine
from workers.engines.tts.speaking import Piece, SpeakingEngine
from workers.engines.tts.vibevoice import VibevoiceEngine
from workers.engines.tts.vits import VitsEngine

pytestmark = pytest.mark.unit


# --- voices and languages ---------------------------------------------------------------------------------------------


def test_an_unknown_voice_or_language_is_refused_with_those_there_are(engine: SpeakingEngine) -> None:
    voice, language, other = results(
        engine,
        [
            TtsRequest("Hello.", voice="nobody"),
            TtsRequest("Hello.", language="xx"),
            TtsRequest("Hello.", language="ja"),
        ],
    )
    assert isinstance(voice, EngineRefused)
    assert f"has no voice 'nobody' for 'en'; its voices are {engine.voices()[0].name}" in voice.detail
    for refused in (language, other):
        assert isinstance(refused, EngineRefused)
        assert "does not speak" in refused.detail
        assert ", ".join(engine.languages) in refused.detail


def test_voices_are_found_whatever_their_capitals_and_languages_whatever_their_region(engine: SpeakingEngine) -> None:
    name = engine.voices()[1].name
    plain, odd = results(engine, [TtsRequest("Hello.", name, "en"), TtsRequest("Hello.", name.upper(), "en-GB")])
    assert isinstance(plain, TtsResult)
    assert isinstance(odd, TtsResult)
    assert difference(plain.samples, odd.samples) < ALIKE


def test_voices_of_pocket_tts_are_recordings_and_the_first_is_the_default(pocket_engine: PocketTtsEngine) -> None:
    assert pocket_engine.voices() == [Voice("anna", "en"), Voice("bert", "en")]
    [default, named] = results(pocket_engine, [TtsRequest("Hello."), TtsRequest("Hello.", voice="anna")])
    assert difference(default.samples, named.samples) < ALIKE


def test_the_settings_choose_the_default_voice(folder: Path, pocket_engine: PocketTtsEngine) -> None:
    engine = pocket(folder, voice="Bert")
    engine.load()
    [default] = results(engine, [TtsRequest(TEXTS[0])])
    [named] = results(pocket_engine, [TtsRequest(TEXTS[0], voice="bert")])
    assert difference(default.samples, named.samples) < ALIKE
    engine.close()


def test_vits_lists_speakers_for_each_language_and_speaks_each(folder: Path) -> None:
    engine = vits(folder)
    engine.load()
    assert engine.voices() == [*(Voice(f"speaker-{number}", "en") for number in range(3)), Voice("speaker-0", "de")]
    english, german, refused = results(
        engine,
        [TtsRequest("Hallo Welt.", language=tag, voice=voice) for tag, voice in (("en", None), ("de", None))]
        + [TtsRequest("Hallo Welt.", language="de", voice="speaker-2")],
    )
    assert isinstance(english, TtsResult)
    assert isinstance(german, TtsResult)
    assert english.samples.shape != german.samples.shape or difference(english.samples, german.samples) > 10 * ALIKE
    assert isinstance(refused, EngineRefused)
    engine.close()


def test_shipped_voices_speak_as_the_recordings_they_were_made_from(folder: Path, tmp_path: Path) -> None:
    """As latents of the codec, and as the keys and values of the prompt's beginning."""
    model, codec = make_pocket(tmp_path / "pocket", ends_above=0.0)
    (model / "voices").mkdir()
    engine = pocket(folder)
    engine.load()
    assert engine._loaded is not None
    loaded = engine._loaded
    saved = {
        f"layers.{number}.{side}s": tensor.contiguous()
        for number, pair in enumerate(loaded.voices["bert"].layers)
        for side, tensor in zip(("key", "value"), pair, strict=True)
    }
    save_file(saved, model / "voices" / "Kept.safetensors")
    audio = decode((folder / "voices" / "bert.wav").read_bytes(), max_seconds=30, sample_rate=24_000)
    heard = loaded.processor.feature_extractor([audio], sampling_rate=24_000)
    with torch.no_grad():
        latents = loaded.processor.audio_tokenizer.encode(heard["input_values"], heard["padding_mask"]).latents
    save_file({"audio_prompt_latents": latents[0].contiguous()}, model / "voices" / "latents.safetensors")
    save_file({"something": torch.zeros(3)}, model / "voices" / "other.safetensors")

    shipped = pocket(tmp_path, codec=str(codec), voices_dir=None)
    shipped.load()
    assert [voice.name for voice in shipped.voices()] == ["kept", "latents"]
    [original] = spoken(engine, [Piece(TEXTS[1], "en", "bert")])
    for one in spoken(shipped, [Piece(TEXTS[1], "en", voice) for voice in ("kept", "latents")]):
        assert difference(one.samples, original.samples) < ALIKE
    engine.close()
    shipped.close()


# --- loading ----------------------------------------------------------------------------------------------------------


def why_unusable(engine: SpeakingEngine) -> str:
    with pytest.raises(EngineUnusable) as caught:
        engine.load()
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_without_a_voice_it_says_how_to_give_it_one(folder: Path, tmp_path: Path) -> None:
    assert "VOXQUEUE_POCKET_VOICES_DIR" in why_unusable(pocket(folder, voices_dir=None))
    assert "VOXQUEUE_VIBEVOICE_VOICES_DIR" in why_unusable(vibevoice(folder, voices_dir=tmp_path))
    assert f"no folder {tmp_path / 'none'}" in why_unusable(vibevoice(folder, voices_dir=tmp_path / "none"))


def test_a_default_voice_that_is_not_there_is_told_at_once(folder: Path) -> None:
    assert "VOXQUEUE_POCKET_VOICE asks for 'nobody'" in why_unusable(pocket(folder, voice="nobody"))


def test_a_recording_that_is_no_voice_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a recording, and not looked at")
    (tmp_path / "carl.wav").write_bytes(recording(tone(1), 16_000, "wav"))
    (tmp_path / "carl.ogg").write_bytes(recording(tone(1), 16_000, "ogg"))
    assert "Two recordings" in why_unusable(pocket(folder, voices_dir=tmp_path))
    (tmp_path / "carl.ogg").write_bytes(b"no sound at all")
    (tmp_path / "carl.wav").unlink()
    assert f"{tmp_path / 'carl.ogg'} cannot be used as a voice" in why_unusable(pocket(folder, voices_dir=tmp_path))
    (tmp_path / "carl.ogg").write_bytes(recording(tone(40), 16_000, "ogg"))
    assert "30 s" in why_unusable(pocket(folder, voices_dir=tmp_path))


def test_recordings_of_every_kind_are_voices(folder: Path, tmp_path: Path) -> None:
    for container, rate in (("wav", 8_000), ("flac", 44_100), ("mp3", 24_000), ("ogg", 48_000)):
        (tmp_path / f"From {container}.{container}").write_bytes(recording(tone(0.5, 300, rate), rate, container))
    engine = pocket(folder, voices_dir=tmp_path)
    engine.load()
    names = [voice.name for voice in engine.voices()]
    assert names == ["from flac", "from mp3", "from ogg", "from wav"]
    spoken(engine, [Piece("Hello.", "en", name) for name in names])
    engine.close()


def test_a_missing_model_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    nowhere = ModelsSettings(device="cpu", dir=tmp_path)
    for engine in (PocketTtsEngine, VibevoiceEngine, VitsEngine):
        made: SpeakingEngine = engine(Settings(models=nowhere))
        assert "voxqueue models pull" in why_unusable(made)


def test_a_damaged_model_is_one_clear_line(tmp_path: Path) -> None:
    make_all(tmp_path)
    for weights in tmp_path.rglob("model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:1000])
    for make in (pocket, vibevoice, vits):
        assert "cannot be loaded" in why_unusable(make(tmp_path))


def test_vits_wants_models_of_one_rate(tmp_path: Path) -> None:
    make_vits(tmp_path / "en")
    make_vits(tmp_path / "de", sample_rate=22_050)
    assert "16000 and 22050" in why_unusable(vits(tmp_path, en=tmp_path / "en", de=tmp_path / "de"))
    assert "no language" in why_unusable(vits(tmp_path, klingon=tmp_path / "en"))


def test_vits_warms_in_a_script_of_its_own(tmp_path: Path) -> None:
    engine = vits(tmp_path, ru=make_vits(tmp_path / "ru", letters="_абвгдежзиклмн '-"))
    engine.load()
    for longest in (False, True):
        [answer] = results(engine, [engine.warmup_request(longest)])
        assert isinstance(answer, TtsResult), answer
    engine.close()


@pytest.mark.parametrize("make", [pocket, vibevoice])
def test_half_precision_speaks_too(make: Any, folder: Path) -> None:
    engine: SpeakingEngine = make(folder)
    engine.settings = engine.settings.model_copy(update={"models": ModelsSettings(device="cpu", dtype="bfloat16")})
    engine.load()
    assert engine.dtype == "bfloat16"
    for one in spoken(engine, pieces_of(engine)):
        assert np.isfinite(one.samples).all()
        assert np.abs(one.samples).max() > 0
    engine.close()


@pytest.mark.parametrize("make", [pocket, vibevoice, vits])
def test_closing_lets_go_of_the_model(make: Any, folder: Path) -> None:
    engine = make(folder)
    engine.load()
    loaded = engine._loaded["en"] if make is vits else engine._loaded
    model = weakref.ref(loaded.model)
    del loaded
    spoken(engine, pieces_of(engine)[:1])
    engine.close()
    gc.collect()
    assert model() is None
    assert not engine.voices()
