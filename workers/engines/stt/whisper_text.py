"""What a Whisper's tokens say: segments with their times, words, and whether the text can be trusted.

Knows tokens and numbers; the model that they come from is somebody else's.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from voxqueue.stages import Segment, Word
from workers.engines.stt.windows import Clock

# The guards of the original Whisper: text that repeats itself, that the model did not believe in, or that is no speech.
_MOST_COMPRESSION = 2.4
_LEAST_LOG_PROBABILITY = -1.0
_MOST_NO_SPEECH = 0.6

TIMESTAMP_S = 0.02
"""Seconds from one timestamp token to the next."""

_PUNCTUATION = frozenset("\"'.。,，!！?？:：”)]}、…")


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What the model heard in a window: tokens with timestamps, and how sure it was (natural logarithm, per token)."""

    tokens: tuple[int, ...]
    text: str
    log_probability: float
    no_speech: float

    @property
    def is_silence(self) -> bool:
        return self.no_speech > _MOST_NO_SPEECH and self.log_probability < _LEAST_LOG_PROBABILITY

    @property
    def repeats(self) -> bool:
        """Whether it says the same again and again: zlib makes much less of it."""
        written = self.text.encode()
        return bool(written) and len(written) / len(zlib.compress(written)) > _MOST_COMPRESSION

    @property
    def is_doubtful(self) -> bool:
        """Whether another try, at another temperature, may do better."""
        return not self.is_silence and (self.repeats or self.log_probability < _LEAST_LOG_PROBABILITY)

    @property
    def rank(self) -> tuple[bool, float]:
        """The larger, the more it can be trusted."""
        return not self.repeats, self.log_probability


@dataclass(frozen=True, slots=True)
class Stretch:
    """Text tokens between two timestamps, in seconds of the window."""

    start: float
    end: float
    tokens: tuple[int, ...]


def stretches(tokens: Sequence[int], first_timestamp: int, seconds: float) -> list[Stretch]:
    """Cut a window's tokens at its timestamps. Where the model gave none, the whole window is one stretch."""
    found: list[Stretch] = []
    start, spoken = 0.0, list[int]()
    for token in tokens:
        if token < first_timestamp:
            spoken.append(token)
            continue
        time = min((token - first_timestamp) * TIMESTAMP_S, seconds)
        if spoken:
            found.append(Stretch(start, max(start, time), tuple(spoken)))
            spoken = []
        start = max(start, time)
    if spoken:
        found.append(Stretch(start, seconds, tuple(spoken)))
    return found


def note_segment(clock: Clock, stretch: Stretch, text: str, log_probability: float, words: Sequence[Word]) -> Segment:
    """A stretch of a window as a segment of the note. With words, it begins and ends with them."""
    start, end = clock.note_time(stretch.start), clock.note_time(stretch.end, is_end=True)
    if words:
        start, end = words[0].start, words[-1].end
    return Segment(
        start=round(start, 2),
        end=round(max(end, start + TIMESTAMP_S), 2),
        text=text,
        average_log_probability=round(log_probability, 4),
        words=tuple(words),
    )


def join_punctuation(words: Sequence[Word]) -> list[Word]:
    """Marks belong to the word before them; the model's tokens part them."""
    joined: list[Word] = []
    for word in words:
        if joined and set(word.text) <= _PUNCTUATION:
            joined[-1] = replace(joined[-1], text=joined[-1].text + word.text)
        else:
            joined.append(word)
    return joined
