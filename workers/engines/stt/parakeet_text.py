"""What a Parakeet's tokens say: words with their times on the note's clock, and segments.

Knows tokens and numbers; the model that they come from is somebody else's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from voxqueue.stages import Segment, Word
from workers.engines.stt.windows import Clock

_PAUSE_S = 0.8  # nobody is silent for so long within a sentence
_SENTENCE_PAUSE_S = 0.2  # with this after it, a full stop is no abbreviation
_SENTENCE_ENDS = (".", "?", "!", "…")
_SHORTEST_S = 0.02  # a transducer gives some tokens no length


@dataclass(frozen=True, slots=True)
class Token:
    """A token of text: from when to when in seconds of the window, and how sure the model was (natural logarithm)."""

    id: int
    start: float
    end: float
    log_probability: float


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word, the number of its tokens, and the sum of their log-probabilities."""

    word: Word
    tokens: int
    log_probability: float


def spoken_word(clock: Clock, text: str, tokens: Sequence[Token]) -> Spoken:
    """The word that some tokens of a window are, in seconds of the note."""
    start = clock.note_time(tokens[0].start)
    end = max(clock.note_time(tokens[-1].end, is_end=True), start + _SHORTEST_S)
    total = sum(token.log_probability for token in tokens)
    word = Word(round(start, 2), round(end, 2), text, round(exp(total / len(tokens)), 4))
    return Spoken(word, len(tokens), total)


def segments(spoken: Sequence[Spoken], *, with_words: bool) -> list[Segment]:
    """Part the words of a window where a sentence ends or somebody pauses for long."""
    parts: list[list[Spoken]] = []
    for one in spoken:
        if not parts or _is_parted(parts[-1][-1].word, one.word):
            parts.append([])
        parts[-1].append(one)
    return [_segment(part, with_words) for part in parts]


def average_log_probability(spoken: Sequence[Spoken]) -> float | None:
    """The mean over all tokens; None where there are none."""
    tokens = sum(one.tokens for one in spoken)
    return round(sum(one.log_probability for one in spoken) / tokens, 4) if tokens else None


def _is_parted(word: Word, following: Word) -> bool:
    longest = _SENTENCE_PAUSE_S if word.text.endswith(_SENTENCE_ENDS) else _PAUSE_S
    return following.start - word.end >= longest


def _segment(part: Sequence[Spoken], with_words: bool) -> Segment:
    words = tuple(one.word for one in part)
    return Segment(
        start=words[0].start,
        end=words[-1].end,
        text=" ".join(word.text for word in words),
        average_log_probability=average_log_probability(part),
        words=words if with_words else (),
    )
