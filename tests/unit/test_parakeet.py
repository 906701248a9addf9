"""The engine `parakeet` with tiny models, beyond what every engine must do: both decoders, times, languages, refusals.

In float32 on a CPU, a window in a batch gives the same tokens as alone, and log-probabilities within `TOLERANCE`.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from math import log
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from transformers import ParakeetForCTC, ParakeetForTDT, ParakeetProcessor

from tests.engines import answered, results
from tests.models.llm import make_llm
from tests.models.parakeet import FRAME_S, make_parakeet
from tests.recordings import Samples, silence
from voxqueue.errors import EngineFailed, EngineRefused, EngineUnusable
from voxqueue.extras import install
from voxqueue.settings import ModelsSettings, ParakeetSettings, Settings, StageSettings
from voxqueue.stages import SAMPLE_RATE, SttRequest, SttResult, Task
from workers.engines.stt.babble import babble
from workers.engines.stt.parakeet import ParakeetEngine
from workers.engines.stt.parakeet_decoder import Heard, ParakeetDecoder, Piece
from workers.engines.stt.windows import Clock
from workers.serving import Served

pytestmark = pytest.mark.unit

TOLERANCE = 1e-4
Kind = Literal["ctc", "tdt"]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module", params=["ctc", "tdt"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def folder(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_parakeet(tmp_path_factory.mktemp(kind), kind, blank=1.0, stay=-2.0)


@pytest.fixture(scope="module")
def decoder(folder: Path) -> ParakeetDecoder:
    return ParakeetDecoder(folder, "cpu", torch.float32)


def make_engine(model: Path | str, languages: tuple[str, ...] = (), **options: Any) -> ParakeetEngine:
    return ParakeetEngine(
        Settings(
            models=ModelsSettings(device="cpu", **options),
            parakeet=ParakeetSettings(model=str(model), languages=languages),
        )
    )


@contextmanager
def loaded(model: Path | str, languages: tuple[str, ...] = (), **options: Any) -> Iterator[ParakeetEngine]:
    engine = make_engine(model, languages, **options)
    engine.load()
    try:
        yield engine
    finally:
        engine.close()


@cache
def voice() -> Samples:
    return babble(60)


def note(start: float, seconds: float) -> Samples:
    return voice()[round(start * SAMPLE_RATE) : round((start + seconds) * SAMPLE_RATE)]


def whole(samples: Samples) -> Clock:
    return Clock(((0, len(samples)),))


def pieces(decoder: ParakeetDecoder, notes: Sequence[Samples]) -> list[Piece]:
    return [Piece(decoder.features(samples), whole(samples)) for samples in notes]


def heard_words(heard: Heard) -> list[tuple[float, float, str]]:
    return [(one.word.start, one.word.end, one.word.text) for one in heard.spoken]


def times(result: SttResult) -> list[tuple[float, float, str]]:
    return [(word.start, word.end, word.text) for segment in result.segments for word in segment.words]


def check_times(heard: Heard, begins: Sequence[float], ends: Sequence[float]) -> None:
    """Every word starts where some token does, and ends where some token does."""
    assert len(heard.spoken) > 10
    for one in heard.spoken:
        assert min(abs(one.word.start - at) for at in begins) < 0.006
        assert min(abs(one.word.end - at) for at in ends) < 0.006


def read(answer: Any) -> SttResult:
    assert isinstance(answer, SttResult), answer
    return answer


# --- in a model call --------------------------------------------------------------------------------------------------


def test_a_window_is_heard_in_a_batch_as_alone(decoder: ParakeetDecoder) -> None:
    """It breaks where padding gets past the mask, or where a row that is done goes on while others are not."""
    batch = pieces(decoder, [note(3 * n, seconds) for n, seconds in enumerate((0.05, 9.03, 0.4, 25.0, 3.17, 1.0))])
    together = decoder.hear(batch)
    for piece, one in zip(batch, together, strict=True):
        [alone] = decoder.hear([piece])
        assert heard_words(one) == heard_words(alone)
        for ours, theirs in zip(one.spoken, alone.spoken, strict=True):
            assert ours.log_probability == pytest.approx(theirs.log_probability, abs=TOLERANCE * ours.tokens)
    assert len({tuple(heard_words(one)) for one in together}) >= len(batch) - 1  # the shortest may be no word at all
    assert sum(len(one.spoken) for one in together) > 50


def test_ctc_says_what_the_library_says(tmp_path: Path) -> None:
    folder = make_parakeet(tmp_path, "ctc", blank=1.0)
    processor: Any = ParakeetProcessor.from_pretrained(folder)
    model: Any = ParakeetForCTC.from_pretrained(folder)
    decoder = ParakeetDecoder(folder, "cpu", torch.float32)
    samples = note(5, 12)
    inputs = processor([samples], sampling_rate=SAMPLE_RATE)
    [ids] = model.generate(**inputs).tolist()
    [theirs] = processor.batch_decode([ids], skip_special_tokens=True)
    [ours] = decoder.hear(pieces(decoder, [samples]))
    assert " ".join(one.word.text for one in ours.spoken) == " ".join(theirs.split())
    blank = model.config.pad_token_id
    begins = [n * FRAME_S for n, said in enumerate(ids) if said != blank and (n == 0 or ids[n - 1] != said)]
    ends = [(n + 1) * FRAME_S for n, said in enumerate(ids) if said != blank and [said] != ids[n + 1 : n + 2]]
    check_times(ours, begins, ends)


def test_tdt_says_what_the_library_says(tmp_path: Path) -> None:
    folder = make_parakeet(tmp_path, "tdt", blank=1.0, stay=-5.0)  # the library would never leave some frames
    processor: Any = ParakeetProcessor.from_pretrained(folder)
    model: Any = ParakeetForTDT.from_pretrained(folder)
    decoder = ParakeetDecoder(folder, "cpu", torch.float32)
    samples = note(5, 12)
    inputs = processor([samples], sampling_rate=SAMPLE_RATE)
    output = model.generate(**inputs, return_dict_in_generate=True, max_new_tokens=1500)
    [text] = processor.decode(output.sequences, skip_special_tokens=True)
    [ours] = decoder.hear(pieces(decoder, [samples]))
    assert " ".join(one.word.text for one in ours.spoken) == " ".join(text.split())
    [onward] = output.durations.tolist()
    begins = [sum(onward[:n]) * FRAME_S for n in range(len(onward))]
    check_times(ours, begins, [*begins[1:], ours.clock.end])


def test_tokens_that_are_no_text_are_left_out(decoder: ParakeetDecoder) -> None:
    """Else they would stretch the word before them and make it less sure."""
    assert not any("<" in one.word.text for one in decoder.hear(pieces(decoder, [note(0, 20)]))[0].spoken)


def test_tdt_leaves_a_frame_on_which_it_would_speak_for_ever(tmp_path: Path) -> None:
    folder = make_parakeet(tmp_path, "tdt", blank=-50.0, stay=50.0)
    decoder = ParakeetDecoder(folder, "cpu", torch.float32)
    [heard] = decoder.hear(pieces(decoder, [note(0, 0.8)]))
    assert 50 < sum(one.tokens for one in heard.spoken) <= 10 * round(0.8 / FRAME_S)  # 10 on each, text or not


def test_tdt_that_says_nothing_ends_even_where_it_would_go_on_by_no_frame(tmp_path: Path) -> None:
    folder = make_parakeet(tmp_path, "tdt", blank=50.0, stay=50.0)
    decoder = ParakeetDecoder(folder, "cpu", torch.float32)
    [heard] = decoder.hear(pieces(decoder, [note(0, 3)]))
    assert heard.spoken == ()


# --- a note -----------------------------------------------------------------------------------------------------------


def test_notes_of_any_length_share_calls_and_are_not_mixed_up(folder: Path) -> None:
    requests = [
        SttRequest(audio=[note(start, seconds)], word_timestamps=True)
        for start, seconds in ((0, 2), (10, 45), (20, 1), (30, 7), (40, 3))
    ]
    with loaded(folder) as engine:
        together = answered(engine, requests)
        assert max(one.batch_size for one in together if not isinstance(one, Exception)) > 2
        for request, one in zip(requests, together, strict=True):
            assert not isinstance(one, Exception)
            [alone] = results(engine, [request])
            assert read(one.result).text == read(alone).text
            assert times(read(one.result)) == times(read(alone))
    assert len({read(one.result).text for one in together if not isinstance(one, Exception)}) == len(requests)


def test_times_are_on_the_clock_of_the_note(folder: Path) -> None:
    """Silence is cut out before the model hears the note; what is said after it must be late nevertheless."""
    samples = np.concatenate([silence(4), note(0, 3), silence(6), note(7, 3), silence(2)])
    with loaded(folder) as engine:
        [answer] = results(engine, [SttRequest(audio=[samples], word_timestamps=True)])
    result = read(answer)
    words = [word for segment in result.segments for word in segment.words]
    spans = ((3.5, 7.5), (12.5, 16.5))
    assert all(any(start <= word.start <= end for start, end in spans) for word in words)
    for start, end in spans:
        assert any(start <= word.start <= end for word in words)
    assert [word.start for word in words] == sorted(word.start for word in words)
    assert result.audio_seconds == 18
    assert result.speech_seconds == pytest.approx(7, abs=1.5)


def test_words_are_told_only_where_they_are_asked_for(folder: Path) -> None:
    with loaded(folder) as engine:
        [without, having] = (
            read(results(engine, [SttRequest(audio=[note(0, 6)], word_timestamps=asked)])[0]) for asked in (False, True)
        )
    assert without.text == having.text == " ".join(segment.text for segment in having.segments)
    assert all(segment.words == () for segment in without.segments)
    for bare, segment in zip(without.segments, having.segments, strict=True):
        assert (bare.start, bare.end) == (segment.start, segment.end)
        assert segment.text == " ".join(word.text for word in segment.words)
        assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)
        assert all(0 < word.probability <= 1 and word.start < word.end for word in segment.words)
    assert having.average_log_probability is not None
    assert log(min(word.probability for segment in having.segments for word in segment.words)) - 0.01 <= (
        having.average_log_probability
    )


def test_progress_grows_with_a_long_note(folder: Path) -> None:
    told: list[float] = []
    samples = np.concatenate([voice(), voice()])
    with loaded(folder) as engine:
        served = Served(engine, StageSettings(max_batch=4, max_cost=1e9, deadline_s=120))
        try:
            served.ask(SttRequest(audio=[samples], duration=120), on_progress=told.append)
        finally:
            served.stop(wait_s=10)
    assert len(told) >= 4
    assert told == sorted(told)
    assert 0 < told[0] < 0.5 < told[-1] <= 1


def test_half_precision_hears_too(folder: Path) -> None:
    with loaded(folder, dtype="bfloat16") as engine:
        assert engine.dtype == "bfloat16"
        for answer in results(engine, [SttRequest(audio=[note(n, 2 + n)]) for n in range(3)]):
            assert read(answer).text
            assert np.isfinite(read(answer).average_log_probability or np.nan)


# --- what is asked of it ----------------------------------------------------------------------------------------------


def ask_language(engine: ParakeetEngine, language: str | None) -> Any:
    [answer] = results(engine, [SttRequest(audio=[note(0, 1)], language=language)])
    return answer


def test_most_models_know_english_only(folder: Path) -> None:
    with loaded(folder) as engine:
        assert read(ask_language(engine, "en")).language == "en"
        assert read(ask_language(engine, None)).language == "en"
        refused = ask_language(engine, "de")
    assert isinstance(refused, EngineRefused)
    assert "does not know the language 'de': it knows en." in refused.detail


def test_the_multilingual_model_is_told_by_its_name(kind: Kind, tmp_path: Path) -> None:
    (tmp_path / "Parakeet-TDT-0.6b-v3").mkdir()
    with loaded(make_parakeet(tmp_path / "Parakeet-TDT-0.6b-v3", kind, blank=1.0)) as engine:
        assert read(ask_language(engine, "uk")).language == "uk"
        assert read(ask_language(engine, None)).language is None  # it does not say which one it heard
        refused = ask_language(engine, "ja")
        assert isinstance(refused, EngineRefused)
        assert "VOXQUEUE_STT_ENGINES" in refused.detail, "and what to do about it"


def test_the_settings_know_better_which_languages_a_model_knows(folder: Path) -> None:
    with loaded(folder, languages=("ja",)) as engine:
        assert read(ask_language(engine, "ja")).language == "ja"
        assert read(ask_language(engine, None)).language == "ja"
        assert isinstance(ask_language(engine, "en"), EngineRefused)


def test_translation_is_refused(folder: Path) -> None:
    with loaded(folder) as engine:
        [answer] = results(engine, [SttRequest(audio=[note(0, 1)], task=Task.TRANSLATE)])
    assert isinstance(answer, EngineRefused)
    assert "cannot translate" in answer.detail


def test_prompts_and_hotwords_are_left_out_and_the_job_is_told(folder: Path) -> None:
    asked: list[dict[str, Any]] = [{"prompt": "Dear Zoe,"}, {"hotwords": "Zoe"}, {"prompt": " "}, {}]
    with loaded(folder) as engine:
        told = answered(engine, [replace(SttRequest(audio=[note(0, 1)]), **options) for options in asked])
    prompt, hotwords = ("parakeet ignores prompt",), ("parakeet ignores hotwords",)
    assert [one.degradations for one in told if not isinstance(one, Exception)] == [prompt, hotwords, (), ()]


# --- loading ----------------------------------------------------------------------------------------------------------


def test_it_is_not_called_before_it_is_loaded(folder: Path) -> None:
    engine = make_engine(folder)
    [answer] = results(engine, [SttRequest(audio=[note(0, 1)])])
    assert isinstance(answer, EngineFailed)
    assert "before it was loaded" in answer.detail


@pytest.mark.parametrize("package", ["transformers", "faster_whisper"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxqueue.extras.find_spec", lambda name: None if name == package else object())
    with pytest.raises(EngineUnusable, match=f"{package} is not installed: {re.escape(install('models'))}"):
        make_engine("any/model").load()


def test_a_model_that_is_not_here_is_told_how_to_get(tmp_path: Path) -> None:
    with pytest.raises(EngineUnusable, match=r"someone/parakeet.*voxqueue models pull.*VOXQUEUE_PARAKEET_MODEL"):
        make_engine("someone/parakeet", dir=tmp_path).load()


def test_another_kind_of_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        EngineUnusable, match=r"type qwen2, where parakeet_ctc or parakeet_tdt.*VOXQUEUE_PARAKEET_MODEL"
    ):
        make_engine(make_llm(tmp_path)).load()


def test_damaged_weights_are_one_clear_line(tmp_path: Path) -> None:
    folder = make_parakeet(tmp_path, "ctc")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(EngineUnusable, match=r"parakeet cannot load .*VOXQUEUE_PARAKEET_MODEL") as raised:
        make_engine(folder).load()
    assert "\n" not in raised.value.detail
