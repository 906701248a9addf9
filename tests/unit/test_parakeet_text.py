"""How a Parakeet's tokens become words on the note's clock, and words segments."""

from math import log

import pytest

from voxqueue.stages import SAMPLE_RATE, Word
from workers.engines.stt.parakeet_text import Spoken, Token, average_log_probability, segments, spoken_word
from workers.engines.stt.windows import Clock

pytestmark = pytest.mark.unit

CLOCK = Clock(((0, 2 * SAMPLE_RATE), (10 * SAMPLE_RATE, 12 * SAMPLE_RATE)))


def said(start: float, end: float, text: str, *scores: float) -> Spoken:
    return Spoken(Word(start, end, text, 0.5), len(scores) or 1, sum(scores))


def texts(*spoken: Spoken) -> list[str]:
    return [segment.text for segment in segments(spoken, with_words=False)]


def test_a_long_pause_ends_a_segment() -> None:
    assert texts(said(0, 1, "one"), said(1.7, 2, "two"), said(2.9, 3, "three")) == ["one two", "three"]


def test_a_sentence_ends_a_segment_but_an_abbreviation_does_not() -> None:
    assert texts(said(0, 1, "Mr."), said(1.1, 2, "Fox?"), said(2.3, 3, "No.")) == ["Mr. Fox?", "No."]


def test_a_segment_counts_its_tokens() -> None:
    spoken = [said(0, 1, "long", -1.0, -2.0, -3.0), said(1, 2, "short", -6.0)]
    [segment] = segments(spoken, with_words=True)
    assert segment.average_log_probability == average_log_probability(spoken) == -3.0
    assert segment.words == tuple(one.word for one in spoken)
    assert average_log_probability([]) is None


def test_a_word_is_as_sure_as_its_tokens_and_never_without_length() -> None:
    tokens = [Token(1, 2.5, 2.5, log(0.5)), Token(2, 2.5, 2.5, log(0.125))]
    assert spoken_word(CLOCK, "so", tokens).word == Word(10.5, 10.52, "so", 0.25)


def test_a_word_before_a_cut_ends_before_it() -> None:
    assert spoken_word(CLOCK, "end", [Token(1, 1.5, 2.0, -1.0)]).word.end == 2.0
    assert spoken_word(CLOCK, "start", [Token(1, 2.0, 2.4, -1.0)]).word.start == 10.0
