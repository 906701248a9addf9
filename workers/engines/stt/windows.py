"""Cuts a note into windows of speech for models that hear at most 30 seconds at a time. Knows no recogniser.

Silero's voice detector, which lies in the wheel of faster-whisper, says where somebody speaks; it runs on the CPU and
lets other threads run. The note streams through: no more of it is kept than a block and what is left of the one before.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from voxqueue.stages import SAMPLE_RATE, Samples

if TYPE_CHECKING:
    from faster_whisper.vad import VadOptions

LONGEST_S = 30.0

_PAUSE_MS = 160  # a longer one parts two stretches of speech
_PADDING_MS = 400  # quiet consonants around what is loud enough
_SHORTEST = SAMPLE_RATE // 20  # what is shorter is a click
_MARGIN = SAMPLE_RATE  # how near to a block's end speech may go on in the next one


@dataclass(frozen=True, slots=True)
class Clock:
    """Which stretches of the note a window was joined from: first sample and the one after the last, in order."""

    spans: tuple[tuple[int, int], ...]

    @property
    def seconds(self) -> float:
        """How long the window is."""
        return sum(stop - start for start, stop in self.spans) / SAMPLE_RATE

    @property
    def end(self) -> float:
        """Where the window ends, in seconds of the note."""
        return self.spans[-1][1] / SAMPLE_RATE

    def note_time(self, seconds: float, *, is_end: bool = False) -> float:
        """Seconds of the note that are so many seconds of the window.

        At the joint of two stretches, an end belongs to the first and a start to the second.
        """
        left = round(seconds * SAMPLE_RATE)
        for start, stop in self.spans:
            length = stop - start
            if left < length or (is_end and left == length):
                return (start + max(left, 0)) / SAMPLE_RATE
            left -= length
        return self.end

    def note_times(self, start: float, end: float) -> tuple[float, float]:
        """Where in the note something short lies that the window has from start to end.

        It belongs to one stretch, that of its middle: models are not exact to the tenth of a second, and at a joint
        that would put it on the other side of a pause.
        """
        middle, before = (start + end) / 2 * SAMPLE_RATE, 0
        for first, stop in self.spans:
            length = stop - first
            if middle <= before + length or stop == self.spans[-1][1]:
                within = [min(max(round(time * SAMPLE_RATE) - before, 0), length) for time in (start, end)]
                return (first + within[0]) / SAMPLE_RATE, (first + within[1]) / SAMPLE_RATE
            before += length
        raise AssertionError("a clock has at least one stretch")


@dataclass(frozen=True, slots=True)
class Window:
    """At most 30 seconds of speech, float32 in [-1, 1] at 16 kHz, shape ``[n]``, and where in the note they lie."""

    samples: Samples
    clock: Clock


class Windows:
    """The windows of a note, as full as they can be. To be iterated once, by one thread.

    Attributes:
        seconds: How much of the note has been looked at so far.
        speech_seconds: How much of that is in windows.
    """

    def __init__(self, blocks: Iterable[Samples]) -> None:
        self.seconds = 0.0
        self.speech_seconds = 0.0
        self._blocks = blocks

    def __iter__(self) -> Iterator[Window]:
        gathered: list[tuple[int, Samples]] = []
        length = 0
        for start, speech in self._stretches():
            if gathered and length + len(speech) > LONGEST_S * SAMPLE_RATE:
                yield self._window(gathered)
                gathered, length = [], 0
            gathered.append((start, speech))
            length += len(speech)
        if gathered:
            yield self._window(gathered)

    def _window(self, stretches: list[tuple[int, Samples]]) -> Window:
        clock = Clock(tuple((start, start + len(speech)) for start, speech in stretches))
        self.speech_seconds += clock.seconds
        return Window(np.concatenate([speech for _, speech in stretches]), clock)

    def _stretches(self) -> Iterator[tuple[int, Samples]]:
        """Each stretch of speech with the note's sample at which it begins."""
        rest = np.zeros(0, np.float32)
        offset = 0
        blocks = iter(self._blocks)
        block = next(blocks, None)
        while block is not None:
            following = next(blocks, None)
            self.seconds += len(block) / SAMPLE_RATE
            heard = np.concatenate([rest, block]) if len(rest) else block
            spans = find_speech(heard)
            done = len(heard)
            if following is not None:
                done = max(0, len(heard) - _MARGIN)
                while spans and spans[-1][1] > done:  # it may go on in the next block: look at all of it again there
                    done = min(done, spans.pop()[0])
            yield from ((offset + start, heard[start:stop]) for start, stop in spans)
            offset += done
            rest, block = heard[done:], following


def find_speech(samples: Samples) -> list[tuple[int, int]]:
    """First sample, and the one after the last, of each stretch of at most 30 s in which somebody speaks."""
    from faster_whisper.vad import get_speech_timestamps

    if len(samples) < _SHORTEST:
        return []
    found = get_speech_timestamps(samples, _options())
    spans = [(int(one["start"]), min(int(one["end"]), len(samples))) for one in found]
    return [(start, stop) for start, stop in spans if stop - start >= _SHORTEST]


def _options() -> "VadOptions":
    from faster_whisper.vad import VadOptions

    return VadOptions(max_speech_duration_s=LONGEST_S, min_silence_duration_ms=_PAUSE_MS, speech_pad_ms=_PADDING_MS)
