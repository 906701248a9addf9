"""The text-to-speech engines on transformers, on tiny models: what is spoken together sounds as if it were alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.engines import answered, results
from tests.models.pocket import MARKS, make_pocket
from tests.models.vibevoice import make_vibevoice
from tests.models.voices import make_voices
from tests.tts_engines import ALIKE, TEXTS, difference, pieces_of, pocket, spoken, vibevoice, vits
from voxqueue.audio import decode
from voxqueue.errors import EngineRefused, EngineUnusable, VoxqueueError
from voxqueue.sentences import PARAGRAPH_PAUSE_S, SENTENCE_PAUSE_S
from voxqueue.settings import ModelsSettings
from voxqueue.stages import TtsRequest, TtsResult
from workers.engines.device import pick_device, pick_dtype
from workers.engines.tts.pocket_tts import PocketTtsEngine
from workers.engines.tts.speaking import Piece, SpeakingEngine, Spoken, join
from workers.engines.tts.vibevoice import _scheduler, _SteadyNoise
from workers.serving import Answered

pytestmark = pytest.mark.unit


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
