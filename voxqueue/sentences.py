"""Cuts text where a speaker would pause: at sentences, and where those are too long, at clauses. Pure.

Where sentences end in which language is `sentencex`'s knowledge. It must know nothing of engines or markup.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import sentencex

PARAGRAPH_PAUSE_S = 0.7
SENTENCE_PAUSE_S = 0.35
CLAUSE_PAUSE_S = 0.15
WORD_PAUSE_S = 0.05

_SHORT = 12
"""Fewer characters than this, about a second of speech, are spoken badly alone."""

# Latin marks need a space after them, for there are "3,500" and "12:30"; the wide ones of Chinese and Japanese do not.
_CLAUSE_END = re.compile(r"(?:[,;:!?،؛…]|\.\.\.)[\"'”’»)\]]*\s|\s[–-]\s|[、，；：—]+\s?")
_SPACE = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A piece of text to be spoken in one go, and the silence that follows it. The last of a text has none."""

    text: str
    pause_s: float


def split_sentences(text: str, language: str | None, longest: int) -> list[Sentence]:
    """Cut a text into pieces of at most ``longest`` characters, at sentences where possible.

    Nothing but whitespace is left out. Very short sentences stay with a neighbour, and what holds no letter or digit
    does, for there is nothing in it to be spoken; both as far as ``longest`` allows.

    Args:
        language: A tag such as ``en`` or ``pt-BR``; English rules hold for None and for languages that have no own.

    Raises:
        ValueError: ``longest`` is less than 1.
    """
    if longest < 1:
        raise ValueError(f"longest must be at least 1, not {longest}")
    pieces = _join(_pieces(text, language, longest), longest)
    sentences = [Sentence(" ".join(piece.text.split()), piece.pause_s) for piece in pieces]
    return [*sentences[:-1], *(Sentence(last.text, 0) for last in sentences[-1:])]


def cut_at_sentences(text: str, language: str | None) -> list[str]:
    """The sentences of one paragraph with the spaces that follow them, so that joined they are the paragraph."""
    sound = text.encode("utf-8", "replace").decode()  # half a surrogate pair, as broken JSON holds it, becomes "?"
    return list(sentencex.segment(language or "en", sound))


def is_inside_character(text: str, at: int) -> bool:
    """Whether a cut here would part what is seen as one character: a letter and its marks, or a joined emoji."""
    joiner = "\u200d"
    before, after = text[at - 1], text[at]
    return joiner in (before, after) or unicodedata.category(after) in ("Mn", "Mc", "Me") or "🏻" <= after <= "🏿"


def _pieces(text: str, language: str | None, longest: int) -> Iterator[Sentence]:
    for paragraph in _paragraphs(text):
        *before, last = cut_at_sentences(paragraph, language)
        for sentence in before:
            yield from _cut(Sentence(sentence, SENTENCE_PAUSE_S), longest)
        yield from _cut(Sentence(f"{last} ", PARAGRAPH_PAUSE_S), longest)


def _paragraphs(text: str) -> list[str]:
    """Each in one line. A line in small letters goes on with the one above, unless a blank one parts them."""
    found: list[list[str]] = []
    blank = True
    for line in text.splitlines():
        words = line.split()
        if words and not blank and words[0][0].islower():
            found[-1] += words
        elif words:
            found.append(words)
        blank = not words
    return [" ".join(words) for words in found]


def _cut(piece: Sentence, longest: int) -> Iterator[Sentence]:
    """Halve a piece until it fits. Halves are spoken better than a long piece and a snippet."""
    if len(piece.text.strip()) <= longest:
        yield piece
        return
    at, pause_s = _best_cut(piece.text)
    yield from _cut(Sentence(piece.text[:at], pause_s), longest)
    yield from _cut(Sentence(piece.text[at:], piece.pause_s), longest)


def _best_cut(text: str) -> tuple[int, float]:
    """Where to cut, nearest to the middle but within the middle half, and the pause there."""
    first, last = max(1, len(text) // 4), min(len(text) - 1, len(text) - len(text) // 4)
    clauses = (match.end() for match in _CLAUSE_END.finditer(text))
    spaces = (match.end() for match in _SPACE.finditer(text))
    anywhere = (at for at in range(first, last + 1) if not is_inside_character(text, at))
    for places, pause_s in ((clauses, CLAUSE_PAUSE_S), (spaces, WORD_PAUSE_S), (anywhere, 0.0)):
        within = [at for at in places if first <= at <= last]
        if within:
            return min(within, key=lambda at: abs(2 * at - len(text))), pause_s
    return len(text) // 2, 0.0


def _join(pieces: Iterator[Sentence], longest: int) -> list[Sentence]:
    joined: list[Sentence] = []
    for piece in pieces:
        if joined and _belong_together(joined[-1], piece, longest):
            joined[-1] = Sentence(joined[-1].text + piece.text, piece.pause_s)
        else:
            joined.append(piece)
    return joined


def _belong_together(before: Sentence, after: Sentence, longest: int) -> bool:
    if len((before.text + after.text).strip()) > longest:
        return False
    if not (_is_speakable(before) and _is_speakable(after)):
        return True
    shorter = min(len(before.text.strip()), len(after.text.strip()))
    return before.pause_s != PARAGRAPH_PAUSE_S and shorter < _SHORT


def _is_speakable(piece: Sentence) -> bool:
    return any(character.isalnum() for character in piece.text)
