"""Text is cut where a speaker would pause, and nothing of it is lost."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxqueue.sentences import CLAUSE_PAUSE_S, PARAGRAPH_PAUSE_S, SENTENCE_PAUSE_S, Sentence, split_sentences

pytestmark = pytest.mark.unit

PROSE = st.text(
    st.sampled_from("abcÄ你好。, ,;–—.…!?\"'()1234\n\r\t🎉\u200d\u0301สี") | st.characters(codec="utf-8"), max_size=300
)
LANGUAGES = st.sampled_from([None, "en", "de", "fr", "zh", "ja", "th", "hi", "yue", "en-US", "xx"])


def texts(text: str, language: str | None = "en", longest: int = 300) -> list[str]:
    return [sentence.text for sentence in split_sentences(text, language, longest)]


def bare(text: str) -> str:
    return "".join(text.split())


@given(text=PROSE, language=LANGUAGES, longest=st.integers(1, 80))
def test_nothing_is_lost_and_nothing_is_too_long(text: str, language: str | None, longest: int) -> None:
    """A lost piece would be a hole in the speech; one that is too long may not fit into the model's memory."""
    sentences = split_sentences(text, language, longest)
    assert bare("".join(sentence.text for sentence in sentences)) == bare(text)
    assert all(0 < len(sentence.text) <= longest for sentence in sentences)
    assert all(sentence.text == " ".join(sentence.text.split()) for sentence in sentences)
    assert all(sentence.pause_s >= 0 for sentence in sentences)
    assert not sentences or sentences[-1].pause_s == 0


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("en", ["Dr. Smith paid 3.5 dollars, e.g. for tea.", "He left at 5 p.m. with Mrs. Jones."]),
        ("en", ['"Are you really sure?" she asked him.', 'He said: "Of course I am!"', "Then they went home."]),
        ("en", ["Wait... what did you just say?!", "We did not hear it.", "Say it again, please."]),
        ("de", ["Das ist z. B. ziemlich gut gelungen.", "Dr. Müller kam am 3. Mai zu uns."]),
        ("fr", ["M. Dupont est là depuis hier.", "Il dit : « Bonjour tout le monde ! »"]),
        ("es-MX", ["¿Qué tal estás esta mañana?", "¡Hola a todos mis amigos!"]),
        ("hi", ["यह बहुत अच्छा दिन है आज।", "वह बाजार से घर चला गया।"]),
        (None, ["Nobody said what language this is.", "It is cut like English then."]),
        ("xx", ["Nobody knows this language here.", "It is cut like English then."]),
    ],
)
def test_sentences_end_where_a_reader_of_the_language_sees_it(language: str | None, sentences: list[str]) -> None:
    """Abbreviations, numbers and quotes hold full stops that end nothing; a cut there is heard as a stumble."""
    assert texts(" ".join(sentences), language) == sentences


def test_scripts_without_spaces_have_sentences_too() -> None:
    sentences = [
        "今天天气很好我们一起去公园散步吧！",
        "你明天下午有没有时间跟我们去？",
        "我觉得这个主意真的非常不错啊。",
    ]
    assert texts("".join(sentences), "zh") == sentences


def test_pauses_are_longer_the_more_has_ended() -> None:
    text = "The first sentence is short enough. The second one is as long, but goes on.\n\nA new paragraph begins."
    assert split_sentences(text, "en", 36) == [
        Sentence("The first sentence is short enough.", SENTENCE_PAUSE_S),
        Sentence("The second one is as long,", CLAUSE_PAUSE_S),
        Sentence("but goes on.", PARAGRAPH_PAUSE_S),
        Sentence("A new paragraph begins.", 0),
    ]


def test_a_line_that_was_only_wrapped_is_no_paragraph() -> None:
    """A mail program breaks lines anywhere; a list's lines belong apart."""
    assert texts("Somebody wrapped this\nin the middle.") == ["Somebody wrapped this in the middle."]
    assert texts("Milk\nEggs\n\nbread") == ["Milk", "Eggs", "bread"]


def test_tiny_sentences_stay_with_a_neighbour_while_that_fits() -> None:
    assert texts("Hi. Ok. Let us go to the sea today.") == ["Hi. Ok. Let us go to the sea today."]
    assert texts("Let us go to the sea today. Ok.") == ["Let us go to the sea today. Ok."]
    assert texts("Hi. Let us go to the sea today.", longest=27) == ["Hi.", "Let us go to the sea today."]


def test_what_cannot_be_spoken_never_stands_alone() -> None:
    """A model that is given a piece without one character it knows fails, and the whole reply with it."""
    assert texts("🎉\n\nWe have won the first prize.\n\n👍👍\n\n***") == ["🎉 We have won the first prize. 👍👍 ***"]


def test_too_long_a_sentence_is_cut_at_a_clause_then_at_a_word() -> None:
    clauses = "We walked through the old town for 1,500 steps; then it rained, so we took the bus home."
    assert texts(clauses, longest=60) == [
        "We walked through the old town for 1,500 steps;",
        "then it rained, so we took the bus home.",
    ]
    assert texts("one two three four five six seven", longest=20) == ["one two three four", "five six seven"]


def test_no_cut_goes_through_what_is_seen_as_one_character() -> None:
    """Half of a family emoji is another emoji, and an accent alone is nothing."""
    family = "👨\u200d👩\u200d👧"
    assert all(piece.count("👨") == piece.count("👧") for piece in texts(family * 20, longest=12))
    accented = texts("e\u0301" * 50, longest=7)
    assert not any(unicodedata.combining(piece[0]) for piece in accented)
    thumbs = texts("👍🏽" * 20, longest=5)
    assert all(piece == "👍🏽" * (len(piece) // 2) for piece in thumbs)


@pytest.mark.parametrize("text", ["", " ", "\n\n \t\r\n", "\u2028"])
def test_nothing_to_say_is_no_sentence(text: str) -> None:
    assert split_sentences(text, "en", 100) == []


@pytest.mark.parametrize("unit", ["word ", "a", "。", "Dr. ", "x, ", "🎉", "\u0301", "“"])
def test_ten_thousand_characters_of_anything(unit: str) -> None:
    text = unit * (10_000 // len(unit))
    pieces = texts(text, longest=200)
    assert bare("".join(pieces)) == bare(text)
    assert len(pieces) <= 4 * len(text) / 200  # cut in halves: none is smaller than a quarter of what fits


def test_half_a_surrogate_pair_is_a_question_mark() -> None:
    """A stream of JSON may break off within an emoji; no library takes what is left of it."""
    assert texts("Well done \ud83d") == ["Well done ?"]


def test_a_length_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        split_sentences("Hello.", "en", 0)
