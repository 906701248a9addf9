"""The text-to-speech engines on transformers, on tiny models: what is spoken together sounds as if it were alone."""

import gc
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.engines import answered, results
from tests.models.pocket import MARKS, make_pocket
from tests.models.vibevoice import make_vibevoice
from tests.models.vits import make_vits
from tests.models.voices import make_voices
from tests.recordings import recording, tone
from voxqueue.audio import decode
from voxqueue.errors import EngineRefused, EngineUnusable, VoxqueueError
from voxqueue.sentences import PARAGRAPH_PAUSE_S, SENTENCE_PAUSE_S
from voxqueue.settings import ModelsSettings, PocketSettings, Settings, VibevoiceSettings, VitsSettings
from voxqueue.stages import Samples, TtsRequest, TtsResult
from workers.engines.base import Voice
from workers.engines.device import pick_device, pick_dtype
from workers.engines.tts.pocket_tts import PocketTtsEngine
from workers.engines.tts.speaking import Piece, SpeakingEngine, Spoken, join
from workers.engines.tts.vibevoice import VibevoiceEngine, _scheduler, _SteadyNoise
from workers.engines.tts.vits import VitsEngine
from workers.serving import Answered

pytestmark = pytest.mark.unit

ALIKE = 1e-5
"""Most difference between samples that should be equal, at a full scale of 1. Other voices differ by over 1e-4."""

ON_CPU = ModelsSettings(device="cpu")
TEXTS = ("Hello.", "This is a longer sentence that I would like to hear.", "Ok then, be it so.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_all(tmp_path_factory.mktemp("tts"))


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


def count_calls(monkeypatch: pytest.MonkeyPatch, model: Any, method: str) -> list[int]:
    """The batch sizes of the calls that reach a method of the model from now on."""
    sizes: list[int] = []
    real = getattr(model, method)

    def counted(*args: Any, **kwargs: Any) -> Any:
        sizes.append(len(kwargs["input_ids"]))
        return real(*args, **kwargs)

    monkeypatch.setattr(model, method, counted)
    return sizes


# --- one call for many ------------------------------------------------------------------------------------------------


def test_a_batch_sounds_as_its_pieces_do_alone(engine: SpeakingEngine) -> None:
    pieces = pieces_of(engine)
    together = spoken(engine, pieces)
    for piece, one in zip(pieces, together, strict=True):
        [alone] = spoken(engine, [piece])
        assert difference(one.samples, alone.samples) < ALIKE, piece
        assert one.cut == alone.cut
    assert len({len(one.samples) for one in together}) > 1, "pieces of one length show no padding"
    first, second = together[0].samples, together[1].samples
    if first.shape == second.shape:
        assert difference(first, second) > 10 * ALIKE, "the voices of this model sound the same"


def test_what_is_said_does_not_depend_on_chance(engine: SpeakingEngine) -> None:
    pieces = pieces_of(engine)[:3]
    torch.manual_seed(1)
    before = spoken(engine, pieces)
    torch.manual_seed(2)
    after = spoken(engine, pieces)
    for one, other in zip(before, after, strict=True):
        assert difference(one.samples, other.samples) < ALIKE


@pytest.mark.parametrize("make", [pocket, vibevoice])
def test_all_voices_share_one_call(make: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make(folder)
    engine.load()
    sizes = count_calls(monkeypatch, engine._loaded.model, "generate")
    spoken(engine, pieces_of(engine))
    assert sizes == [6]
    engine.close()


def test_vits_calls_once_for_each_language_and_speaker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = vits(folder)
    engine.load()
    sizes = [count_calls(monkeypatch, engine._loaded[tag].model, "forward") for tag in ("en", "de")]
    wanted = (("en", "speaker-0"), ("de", "speaker-0"), ("en", "speaker-2"), ("en", "speaker-0"), ("de", "speaker-0"))
    spoken(engine, [Piece(f"Number {number}.", *voice) for number, voice in enumerate(wanted)])
    assert sizes == [[2, 1], [2]]
    engine.close()


def test_jobs_share_calls_of_the_model(engine: SpeakingEngine) -> None:
    requests = [TtsRequest(text) for text in TEXTS]
    answers = answered(engine, requests)
    assert [answer.batch_size for answer in answers if isinstance(answer, Answered)] == [3, 3, 3]


def test_a_voice_kept_in_mind_speaks_as_one_that_is_in_the_prompt(pocket_engine: PocketTtsEngine, folder: Path) -> None:
    loaded = pocket_engine._loaded
    assert loaded is not None
    for voice in ("anna", "bert"):
        audio = decode((folder / "voices" / f"{voice}.wav").read_bytes(), max_seconds=30, sample_rate=24_000)
        content = [{"type": "audio", "audio": audio}, {"type": "text", "text": TEXTS[1]}]
        prompt = loaded.processor.apply_chat_template(
            [[{"role": "user", "content": content}]], tokenize=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            output = loaded.model.generate(**prompt, do_sample=False)
        [expected] = loaded.processor.decode(output.audio_latents, output.audio_latents_mask)
        [one] = spoken(pocket_engine, [Piece(TEXTS[1], "en", voice)])
        assert difference(one.samples, expected.numpy()) < ALIKE


def test_a_voice_of_vibevoice_kept_in_mind_speaks_as_one_that_is_in_the_prompt(folder: Path) -> None:
    engine = vibevoice(folder)
    engine.load()
    loaded = engine._loaded
    assert loaded is not None
    audio = decode((folder / "voices" / "bert.wav").read_bytes(), max_seconds=30, sample_rate=engine.sample_rate)
    content = [{"type": "audio", "audio": audio}, {"type": "text", "text": TEXTS[1]}]
    prompt = loaded.processor.apply_chat_template(
        [[{"role": "0", "content": content}]], tokenize=True, return_dict=True, return_tensors="pt"
    )
    schedule = _SteadyNoise(_scheduler(loaded.model.generation_config))
    with torch.inference_mode():
        [expected] = loaded.model.generate(**prompt, noise_scheduler=schedule, max_new_tokens=100, sample=False)
    [one] = spoken(engine, [Piece(TEXTS[1], "en", "bert")])
    assert difference(one.samples, expected.flatten().numpy()) < ALIKE
    engine.close()


# --- texts ------------------------------------------------------------------------------------------------------------


def test_a_long_text_is_said_in_sentences_with_pauses_between(engine: SpeakingEngine) -> None:
    sentences = ["The first sentence is this one.", "And here is the second of them.", "A third ends the text."]
    text = f"{sentences[0]} {sentences[1]}\n\n{sentences[2]}"
    [answer] = answered(engine, [TtsRequest(text)])
    assert isinstance(answer, Answered)
    voice = engine.default_voice or engine.voices()[0].name
    parts = [one.samples for one in spoken(engine, [Piece(part, engine.languages[0], voice) for part in sentences])]
    expected = join(parts, [SENTENCE_PAUSE_S, PARAGRAPH_PAUSE_S, 0], engine.sample_rate)
    assert answer.batch_size == 3
    assert answer.result.sample_rate == engine.sample_rate
    assert difference(answer.result.samples, expected) < ALIKE


def test_pauses_are_silence_between_pieces_only() -> None:
    parts = [np.full(3, value, np.float32) for value in (0.1, 0.2)]
    joined = join(parts, [0.5, 9.0], 4)
    assert joined.tolist() == pytest.approx([0.1] * 3 + [0, 0] + [0.2] * 3)


def test_a_sentence_without_end_is_cut_where_its_own_time_is_over(tmp_path: Path) -> None:
    make_pocket(tmp_path / "pocket")
    make_vibevoice(tmp_path / "vibevoice", endless=True)
    make_voices(tmp_path / "voices")
    for make in (pocket, vibevoice):
        engine: SpeakingEngine = make(tmp_path)
        engine.load()
        pieces = [Piece(text, "en", "anna") for text in TEXTS[:2]]
        short, long = spoken(engine, pieces)
        [alone] = spoken(engine, pieces[:1])
        assert short.cut
        assert long.cut
        assert difference(short.samples, alone.samples) < ALIKE
        assert len(short.samples) < len(long.samples)
        [answer] = answered(engine, [TtsRequest(TEXTS[0])])
        assert isinstance(answer, Answered)
        assert any("cut off: 1 of 1" in how for how in answer.degradations)
        engine.close()


def test_a_text_without_words_is_refused_and_hurts_nobody(engine: SpeakingEngine) -> None:
    good, empty, faces = results(engine, [TtsRequest("Hello there."), TtsRequest(" \n"), TtsRequest("🙂🎉")])
    assert isinstance(good, TtsResult)
    for refused in (empty, faces):
        assert isinstance(refused, EngineRefused)
        assert "nothing in this text" in refused.detail
    voice = engine.voices()[0].name
    said, nothing = engine.run([Piece(text, engine.languages[0], voice) for text in ("Hello.", "...")])
    assert isinstance(said, Spoken)
    assert isinstance(nothing, EngineRefused)


def test_sentences_in_letters_that_the_model_does_not_know_are_left_out(folder: Path) -> None:
    engine = vits(folder)
    engine.load()
    mixed, plain = answered(
        engine,
        [
            TtsRequest("Hello there my friend. 日本語の文がここにもう一つあります。"),
            TtsRequest("Hello there my friend."),
        ],
    )
    assert isinstance(mixed, Answered)
    assert isinstance(plain, Answered)
    assert difference(mixed.result.samples, plain.result.samples) < ALIKE
    assert mixed.degradations == ("vits left out sentences in which it knows no character: 1 of 2",)
    [refused] = results(engine, [TtsRequest("日本語の文がここにもう一つあります。")])
    assert isinstance(refused, EngineRefused)
    engine.close()


@pytest.mark.parametrize("mark", [*MARKS.values(), "<|vision_pad|>", "<|vision_end|>"])
def test_a_mark_of_the_prompt_in_a_text_is_only_text(engine: SpeakingEngine, mark: str) -> None:
    among_words, alone, plain = results(engine, [TtsRequest(f"One {mark} two."), TtsRequest(mark), TtsRequest("One.")])
    assert isinstance(among_words, TtsResult), among_words
    assert isinstance(alone, (TtsResult, EngineRefused)), alone
    assert isinstance(plain, TtsResult)


def test_ten_thousand_characters_are_said_in_pieces_of_bounded_length(engine: SpeakingEngine) -> None:
    asked: list[Piece] = []

    class Listening:
        def __call__(self, pieces: Any) -> Iterator[Spoken]:
            for piece in pieces:
                asked.append(piece)
                yield Spoken(np.ones(10, np.float32))

        def prepared(self, pieces: Any) -> Iterator[Piece]:
            return iter(pieces)

        def progress(self, share: float) -> None:
            self.share = share

        def degrade(self, how: str) -> None:
            raise AssertionError(how)

    ask = Listening()
    result = engine.answer(TtsRequest("The quick brown fox jumps over the lazy dog again. " * 196), ask)
    assert max(len(piece.text) for piece in asked) <= engine.longest
    assert sum(len(piece.text) for piece in asked) > 9_500
    assert ask.share == 1
    assert np.count_nonzero(result.samples) == 10 * len(asked)


def test_warming_reaches_the_longest_piece(engine: SpeakingEngine) -> None:
    short, longest = engine.warmup_request(longest=False), engine.warmup_request(longest=True)
    assert len(short.text) < 30
    assert engine.longest - 20 < len(longest.text) <= engine.longest
    [answer] = answered(engine, [longest])
    assert isinstance(answer, Answered)
    assert answer.batch_size == 1


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


# --- where it runs ----------------------------------------------------------------------------------------------------


def test_the_device_and_the_precision_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device(ModelsSettings()) == "cpu"
    assert pick_dtype(ModelsSettings(), "cpu") is torch.float32
    assert pick_dtype(ModelsSettings(dtype="bfloat16"), "cpu") is torch.bfloat16
    assert pick_dtype(ModelsSettings(), "mps") is torch.float16
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device(ModelsSettings()) == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device(ModelsSettings()) == "cuda:0"
    assert pick_device(ModelsSettings(device="cpu")) == "cpu"


def test_a_device_that_is_not_there_and_a_precision_that_is_none_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refusals: list[VoxqueueError] = []
    for ask in (
        lambda: pick_device(ModelsSettings(device="cuda")),
        lambda: pick_dtype(ModelsSettings(dtype="int8"), "cpu"),
    ):
        with pytest.raises(EngineUnusable) as caught:
            ask()
        refusals.append(caught.value)
    assert "VOXQUEUE_MODELS_DEVICE=cpu" in refusals[0].detail
    assert "VOXQUEUE_MODELS_DTYPE=auto" in refusals[1].detail
