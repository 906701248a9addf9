"""The tiny Whisper that other tests rely on: were it hard of hearing, they would blame the engine."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from faster_whisper import WhisperModel
from faster_whisper.transcribe import Segment, TranscriptionInfo
from faster_whisper.vad import VadOptions, collect_chunks, get_speech_timestamps

from tests.models.sentences import ENGLISH, GERMAN, SENTENCES, WHISPER, Sentence, speak
from tests.recordings import Samples, silence, tone
from voxqueue.stages import SAMPLE_RATE

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module", params=["int8", "float32"])
def model(request: pytest.FixtureRequest) -> WhisperModel:
    return WhisperModel(str(WHISPER), device="cpu", compute_type=request.param, cpu_threads=1)


@cache
def spoken(sentence: Sentence) -> Samples:
    return speak(sentence)


def hear(model: WhisperModel, samples: Samples, **options: Any) -> tuple[list[Segment], TranscriptionInfo]:
    segments, information = model.transcribe(samples, **{"temperature": 0, "beam_size": 1, **options})
    return list(segments), information


def text_of(segments: Sequence[Segment]) -> str:
    return " ".join(segment.text.strip() for segment in segments)


def joined(sentences: Sequence[Sentence], pause_s: float) -> Samples:
    return np.concatenate([part for sentence in sentences for part in (spoken(sentence), silence(pause_s))])


def test_the_model_is_small_enough_for_the_repository() -> None:
    assert sum(file.stat().st_size for file in WHISPER.iterdir()) < 3_000_000


# Not a beam of five without timestamps: it stops at five ended sentences, and the model ends wrong ones early. Of 108
# it misheard 5.
@pytest.mark.parametrize(("beam_size", "without_timestamps"), [(1, True), (1, False), (5, False)])
def test_every_sentence_is_heard_right(model: WhisperModel, beam_size: int, without_timestamps: bool) -> None:
    options = {"beam_size": beam_size, "without_timestamps": without_timestamps}
    heard = [text_of(hear(model, spoken(sentence), **options)[0]) for sentence in SENTENCES]
    assert heard == [sentence.text for sentence in SENTENCES]


def test_every_language_is_told(model: WhisperModel) -> None:
    told = [hear(model, spoken(sentence))[1] for sentence in SENTENCES]
    assert [information.language for information in told] == [sentence.language for sentence in SENTENCES]
    assert min(information.language_probability for information in told) > 0.8


def test_german_is_translated(model: WhisperModel) -> None:
    heard = [text_of(hear(model, spoken(sentence), language="de", task="translate")[0]) for sentence in GERMAN]
    assert heard == [sentence.english for sentence in GERMAN]


@pytest.mark.parametrize("pause_s", [0.0, 0.7])
def test_sentences_after_one_another_are_heard_in_their_order(model: WhisperModel, pause_s: float) -> None:
    for count in (2, 3):
        for sentences in (ENGLISH[4 : 4 + count], GERMAN[:count], ENGLISH[count - 1 :: -1]):
            segments, _ = hear(model, joined(sentences, pause_s))
            assert text_of(segments) == " ".join(sentence.text for sentence in sentences)


def test_times_are_those_of_the_speech(model: WhisperModel) -> None:
    first, second = ENGLISH[0], ENGLISH[6]
    before = 0.4
    segments, _ = hear(model, np.concatenate([silence(before), joined([first, second], 0.8)]))
    middle = before + len(spoken(first)) / SAMPLE_RATE
    end = middle + 0.8 + len(spoken(second)) / SAMPLE_RATE
    times = [time for segment in segments for time in (segment.start, segment.end)]
    assert times == pytest.approx([before, middle, middle + 0.8, end], abs=0.15)


def test_words_follow_one_another_through_the_speech(model: WhisperModel) -> None:
    """A head that attends to nothing would put all the words into one corner."""
    for sentence in (ENGLISH[0], ENGLISH[18], GERMAN[3]):
        segments, _ = hear(model, spoken(sentence), word_timestamps=True)
        words = [word for segment in segments for word in segment.words or ()]
        assert [word.word.strip() for word in words] == sentence.text.split()
        seconds = len(spoken(sentence)) / SAMPLE_RATE
        middles = [seconds * (number + 0.5) / len(words) for number in range(len(words))]
        assert [(word.start + word.end) / 2 for word in words] == pytest.approx(middles, abs=0.2 * seconds)


@pytest.mark.parametrize("gain_db", [-12, 12])
def test_level_noise_and_cutting_change_nothing(model: WhisperModel, gain_db: float) -> None:
    noise = np.random.default_rng(0).normal(size=20 * SAMPLE_RATE).astype(np.float32) * 0.001
    for sentence in SENTENCES[::5]:
        samples = np.concatenate([silence(0.5), spoken(sentence), silence(0.5)])
        loud = np.clip((samples + noise[: len(samples)]) * 10 ** (gain_db / 20), -1, 1).astype(np.float32)
        speech = get_speech_timestamps(loud, VadOptions(speech_pad_ms=200))
        for heard in (loud, collect_chunks(loud, speech)[0][0]):
            assert text_of(hear(model, heard)[0]) == sentence.text


@pytest.mark.parametrize(
    "samples",
    [silence(2), tone(2), np.random.default_rng(1).normal(size=2 * SAMPLE_RATE).astype(np.float32) * 0.05],
    ids=["silence", "tone", "noise"],
)
def test_what_is_no_speech_says_nothing(model: WhisperModel, samples: Samples) -> None:
    """By faster-whisper's own two guards: a high chance of no speech, and a low one of every word."""
    assert hear(model, samples)[0] == []
    [segment] = hear(model, samples, language="en", no_speech_threshold=None, log_prob_threshold=None)[0]
    assert segment.no_speech_prob > 0.8
    assert segment.avg_logprob < -1
