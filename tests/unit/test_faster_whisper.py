"""Whisper across notes: who said what stays apart, whatever shares a batch.

The model is the tiny one of `tests.models`, trained on three dozen sentences, so that a mix-up between notes is heard.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines import answered, results
from tests.models.sentences import ENGLISH, GERMAN, SENTENCES, WHISPER, Sentence, speak
from tests.recordings import silence
from voxqueue.errors import EngineRefused, EngineUnusable, VoxqueueError
from voxqueue.settings import ModelsSettings, Settings, SttSettings, WhisperSettings
from voxqueue.stages import SAMPLE_RATE, Samples, SttRequest, SttResult, Task, Word
from workers.engines.stt import windows
from workers.engines.stt.babble import babble
from workers.engines.stt.faster_whisper import FasterWhisperEngine
from workers.engines.stt.whisper_decoder import Piece
from workers.engines.stt.whisper_text import Hypothesis, join_punctuation, stretches
from workers.engines.stt.windows import LONGEST_S, Clock
from workers.serving import Answered, Served

pytestmark = pytest.mark.unit


def whisper(**settings: Any) -> FasterWhisperEngine:
    made = FasterWhisperEngine(Settings(whisper=WhisperSettings(model=str(WHISPER), **settings)))
    made.load()
    return made


@pytest.fixture(scope="module")
def engine() -> Iterator[FasterWhisperEngine]:
    made = whisper()
    yield made
    made.close()


@pytest.fixture(scope="module")
def spoken() -> dict[str, Samples]:
    return {sentence.text: speak(sentence) for sentence in SENTENCES}


class Calls:
    """Stands before the model, sees how many rows each call of `generate` has, and may find that too many."""

    def __init__(self, engine: FasterWhisperEngine, monkeypatch: pytest.MonkeyPatch, holds: int = 1_000) -> None:
        assert engine._decoder is not None
        self.rows: list[tuple[int, float]] = []
        self._holds = holds
        self._model = engine._decoder.whisper.model
        monkeypatch.setattr(engine._decoder.whisper, "model", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, encoded: Any, prompts: Sequence[Any], **options: Any) -> Any:
        self.rows.append((len(prompts), options.get("sampling_temperature", 0.0)))
        if len(prompts) > self._holds:
            raise RuntimeError("CUDA failed with error out of memory")
        return self._model.generate(encoded, prompts, **options)


def requests(sentences: Sequence[Sentence], spoken: dict[str, Samples], **options: Any) -> list[SttRequest]:
    return [SttRequest(audio=[spoken[sentence.text]], **options) for sentence in sentences]


# --- across notes -----------------------------------------------------------------------------------------------------


def test_everybody_gets_their_own_words_from_one_batch_of_two_languages(
    engine: FasterWhisperEngine, spoken: dict[str, Samples]
) -> None:
    shuffled = random.Random(1).sample(SENTENCES, len(SENTENCES))
    answers = answered(engine, requests(shuffled, spoken))
    for sentence, answer in zip(shuffled, answers, strict=True):
        assert isinstance(answer, Answered)
        assert answer.batch_size == len(shuffled), "all of them shared one model call"
        assert (answer.result.text, answer.result.language) == (sentence.text, sentence.language)
        assert answer.result.language_probability > 0.5


def test_a_batch_says_what_single_calls_and_faster_whisper_itself_say(
    engine: FasterWhisperEngine, spoken: dict[str, Samples]
) -> None:
    from faster_whisper import WhisperModel

    itself = WhisperModel(str(WHISPER), device="cpu", compute_type="int8")
    asked = requests(SENTENCES[::5], spoken, language="en")
    for request, together in zip(asked, results(engine, asked), strict=True):
        [alone] = results(engine, [request])
        theirs, _ = itself.transcribe(request.samples, language="en", vad_filter=True)
        assert together.text == alone.text == " ".join(segment.text.strip() for segment in theirs)
        assert together.average_log_probability == pytest.approx(alone.average_log_probability, abs=0.05)


def test_prompts_of_any_length_and_tasks_share_a_batch(engine: FasterWhisperEngine, spoken: dict[str, Samples]) -> None:
    german = spoken[GERMAN[0].text]
    asked = [
        SttRequest(audio=[german], task=Task.TRANSLATE),
        SttRequest(audio=[german], language="de"),
        SttRequest(audio=[german], language="de", prompt="Hund"),
        SttRequest(audio=[german], language="de", hotwords="Tisch, Hund", prompt="words " * 1_000),
    ]
    translated, plain, *prompted = results(engine, asked)
    assert (translated.text, plain.text) == (GERMAN[0].english, GERMAN[0].text)
    assert all(isinstance(answer, SttResult) for answer in prompted)


def test_a_batch_that_does_not_fit_is_halved_and_the_ceiling_is_remembered(
    spoken: dict[str, Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = whisper()
    Calls(engine, monkeypatch, holds=2)
    answers = answered(engine, requests(SENTENCES[:16], spoken))
    for sentence, answer in zip(SENTENCES, answers, strict=False):
        assert isinstance(answer, Answered)
        assert answer.result.text == sentence.text
        assert "out of memory" in answer.degradations[0]
    assert engine.ceiling < float("inf")
    [late] = answered(engine, requests(SENTENCES[:1], spoken))
    assert isinstance(late, Answered)
    assert late.degradations == ()
    engine.close()


# --- one note ---------------------------------------------------------------------------------------------------------


def test_segments_and_words_lie_where_they_were_said(engine: FasterWhisperEngine, spoken: dict[str, Samples]) -> None:
    first, second = (spoken[sentence.text] for sentence in ENGLISH[:2])
    whole = np.concatenate([silence(2), first, silence(10), second, silence(3)])
    [result] = results(engine, [SttRequest(audio=[whole], word_timestamps=True)])
    assert result.text == f"{ENGLISH[0].text} {ENGLISH[1].text}"
    begins = 12 + len(first) / SAMPLE_RATE
    words = [word for segment in result.segments for word in segment.words]
    assert [word.text for word in words] == result.text.split()
    assert words[0].start == pytest.approx(2, abs=0.7)
    of_second = words[len(ENGLISH[0].text.split())]
    assert of_second.start == pytest.approx(begins, abs=0.7)
    for one, after in pairwise(words):
        assert one.start < one.end
        assert one.start <= after.start
    assert result.speech_seconds < result.audio_seconds == pytest.approx(len(whole) / SAMPLE_RATE)


def test_a_long_note_streams_tells_its_progress_and_agrees_on_one_language(
    engine: FasterWhisperEngine, spoken: dict[str, Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "LONGEST_S", 8.0)  # the tiny model understands a few sentences at a time
    order = [*GERMAN, *ENGLISH[:4], *GERMAN, *GERMAN]
    blocks = [np.concatenate([spoken[sentence.text], silence(1.5)]) for sentence in order]
    duration = sum(map(len, blocks)) / SAMPLE_RATE
    shares: list[float] = []
    served = Served(engine, SttSettings(max_batch=2))
    answer = served.ask(SttRequest(audio=blocks, duration=duration), on_progress=shares.append)
    served.stop(wait_s=5)
    result = answer.result
    assert result.language == "de"
    assert result.audio_seconds == pytest.approx(duration)
    for sentence in GERMAN:
        assert result.text.count(sentence.text) >= 2, sentence.text
    starts = [segment.start for segment in result.segments]
    assert starts == sorted(starts)
    assert shares == sorted(shares)
    assert len(shares) >= 10
    assert 0.9 < shares[-1] <= 1.0


def test_only_what_looks_wrong_is_tried_again(spoken: dict[str, Samples], monkeypatch: pytest.MonkeyPatch) -> None:
    """A second try of the whole batch would cost everybody the time of the worst."""
    engine = whisper(temperatures=(0.0, 0.5))
    monkeypatch.setattr("workers.engines.stt.faster_whisper._share_cores", lambda threads: (1, 1))
    engine.load()
    calls = Calls(engine, monkeypatch)
    monkeypatch.setattr(Hypothesis, "is_doubtful", property(lambda one: one.text == ENGLISH[2].text))
    answers = results(engine, requests(ENGLISH[:6], spoken, language="en"))
    assert calls.rows == [(6, 0.0), (1, 0.5)]
    assert [answer.text for answer in answers] == [sentence.text for sentence in ENGLISH[:6]]
    engine.close()


def test_a_text_longer_than_expected_is_not_cut(spoken: dict[str, Samples], monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on tokens is for windows that repeat themselves; some scripts take several tokens for a letter."""
    engine = whisper()
    calls = Calls(engine, monkeypatch)
    monkeypatch.setattr("workers.engines.stt.whisper_decoder._token_bound", lambda seconds: 4)
    [answer] = results(engine, requests(ENGLISH[:1], spoken, language="en"))
    assert answer.text == ENGLISH[0].text
    assert len(calls.rows) == 2
    engine.close()


def test_whole_windows_cost_the_same_whatever_is_said_in_them(engine: FasterWhisperEngine) -> None:
    """Else a batch that the memory did not hold would come again, made of shorter notes."""
    short, long = (
        Piece(np.zeros((80, 1), np.float32), Clock(((0, seconds * SAMPLE_RATE),)), "en", Task.TRANSCRIBE, (), False)
        for seconds in (2, 29)
    )
    assert engine.cost(short) < engine.cost(long) <= LONGEST_S
    assert engine.cost(short) == pytest.approx(engine.cost(long), rel=0.05)


def test_short_windows_hear_the_same_or_fall_back_to_whole_ones(spoken: dict[str, Samples]) -> None:
    engine = whisper(short_windows=True)
    answers = results(engine, requests(ENGLISH[:8], spoken, language="en"))
    assert [answer.text for answer in answers] == [sentence.text for sentence in ENGLISH[:8]]
    engine.close()


def test_babble_does_not_disturb_its_neighbours(engine: FasterWhisperEngine, spoken: dict[str, Samples]) -> None:
    asked = [*requests(ENGLISH[:3], spoken), SttRequest(audio=[babble(5)]), SttRequest(audio=[silence(2)])]
    *good, _, silent = results(engine, asked)
    assert [answer.text for answer in good] == [sentence.text for sentence in ENGLISH[:3]]
    assert silent == SttResult(text="", language=None, audio_seconds=2.0, speech_seconds=0.0)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_an_unknown_language_is_refused_by_name(engine: FasterWhisperEngine) -> None:
    [answer] = results(engine, [SttRequest(audio=[babble(1)], language="xh")])
    assert isinstance(answer, EngineRefused)
    assert "'xh'" in answer.detail


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        (Settings(whisper=WhisperSettings(model="small")), "voxqueue models pull"),
        (Settings(whisper=WhisperSettings(model="/nowhere/whisper")), "/nowhere/whisper"),
        (Settings(models=ModelsSettings(device="cuda"), whisper=WhisperSettings(model=str(WHISPER))), "DEVICE=cpu"),
        (Settings(models=ModelsSettings(dtype="float16"), whisper=WhisperSettings(model=str(WHISPER))), "DTYPE"),
    ],
    ids=["not pulled", "no such folder", "no GPU", "no half precision"],
)
def test_what_keeps_it_from_loading_is_one_line_that_says_what_to_do(
    settings: Settings, hint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import ctranslate2

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    if "cuda" in settings.models.device and ctranslate2.get_cuda_device_count():
        pytest.skip("there is a GPU here")
    with pytest.raises(EngineUnusable) as caught:
        FasterWhisperEngine(settings).load()
    assert hint in caught.value.detail
    assert "\n" not in caught.value.detail


def test_a_folder_without_a_whisper_is_no_traceback(tmp_path: Path) -> None:
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(VoxqueueError, match="cannot load"):
        FasterWhisperEngine(Settings(whisper=WhisperSettings(model=str(tmp_path)))).load()


# --- tokens -----------------------------------------------------------------------------------------------------------

FIRST = 1_000  # the token of time 0


def test_tokens_are_cut_at_their_timestamps() -> None:
    tokens = [FIRST, 1, 2, FIRST + 100, FIRST + 150, 3, FIRST + 200]
    assert [(one.start, one.end, one.tokens) for one in stretches(tokens, FIRST, 10)] == [
        (0.0, 2.0, (1, 2)),
        (3.0, 4.0, (3,)),
    ]


def test_tokens_without_an_end_last_to_the_windows_end_and_times_never_exceed_it() -> None:
    assert [(one.start, one.end) for one in stretches([1, 2], FIRST, 7.5)] == [(0.0, 7.5)]
    assert [(one.start, one.end) for one in stretches([FIRST, 1, FIRST + 1_500], FIRST, 4.0)] == [(0.0, 4.0)]
    assert [(one.start, one.end) for one in stretches([FIRST + 100, 1, FIRST + 50], FIRST, 4.0)] == [(2.0, 2.0)]


def test_the_guards_of_whisper() -> None:
    plain = Hypothesis((1,), "Call me back in the afternoon.", -0.3, 0.01)
    assert not plain.is_doubtful
    assert Hypothesis((1,), "la la " * 60, -0.1, 0.01).is_doubtful
    assert Hypothesis((1,), "Whatever.", -1.5, 0.01).is_doubtful
    silent = Hypothesis((1,), "Thank you.", -1.5, 0.9)
    assert silent.is_silence
    assert not silent.is_doubtful
    assert plain.rank > Hypothesis((1,), "Whatever.", -1.5, 0.01).rank > Hypothesis((1,), "la " * 99, -0.1, 0.0).rank


def test_marks_belong_to_the_word_before_them() -> None:
    words = [Word(0, 1, "Well", 0.9), Word(1, 1.1, ",", 0.8), Word(1.2, 2, "no", 0.7), Word(2, 2.1, "?!", 0.6)]
    assert [word.text for word in join_punctuation(words)] == ["Well,", "no?!"]
