"""Where in a note somebody speaks, told by loudness alone. Knows no recogniser.

A recogniser without a rejection model hears words in silence, hiss and hum. Speech differs from these in that its
loudness moves by tens of decibels several times a second; a voice detector that looks at spectra (WebRTC's) calls a
steady hum speech.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxqueue.stages import SAMPLE_RATE

FRAME = SAMPLE_RATE // 50  # 20 ms

INAUDIBLE_DB = -60.0  # below this, nobody speaks into a microphone
RANGE_DB = 35.0  # what is that much quieter than the loudest speech is no speech
ABOVE_FLOOR_DB = 6.0  # what is not louder than the background by this is background
STEADY_DB = 2.5  # white noise and hum move by less than this (standard deviation), speech by about ten

PAUSE_S = 0.5  # a shorter pause does not end a stretch
LONGEST_S = 8.0  # a subtitle longer than this cannot be read along
PADDING_S = 0.2  # quiet consonants around what is loud enough
SHORTEST_S = 0.06  # a click


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a note: first sample and the one after the last."""

    start: int
    stop: int


def find_speech(samples: npt.NDArray[np.float32]) -> list[Span]:
    """Stretches of at most 8 s in which somebody speaks, in order and apart; none in silence, steady noise or hum.

    Args:
        samples: Mono float32 in [-1, 1] at 16 kHz, shape ``[n]``.
    """
    levels = loudness(samples)
    if not len(levels):
        return []
    loudest = float(np.percentile(levels, 95))
    background = float(np.percentile(levels, 10))
    threshold = max(loudest - RANGE_DB, INAUDIBLE_DB, min(background + ABOVE_FLOOR_DB, loudest - ABOVE_FLOOR_DB))
    spans = []
    for first, last in _runs(levels > threshold, round(PAUSE_S * SAMPLE_RATE / FRAME)):
        stretch = levels[first:last]
        if len(stretch) * FRAME >= SHORTEST_S * SAMPLE_RATE and stretch.std() > STEADY_DB:
            spans += _shorten(levels, first, last)
    return _pad(spans, len(samples))


def loudness(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Level of each full frame of 20 ms in decibels below full scale; digital silence is -100."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    levels: npt.NDArray[np.float64] = 10 * np.log10((frames - frames.mean(1, keepdims=True)).var(1) + 1e-10)
    return levels


def _runs(loud: npt.NDArray[np.bool_], gap: int) -> list[tuple[int, int]]:
    """First and last-but-one of each run of True, with gaps shorter than ``gap`` closed."""
    runs: list[tuple[int, int]] = []
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(np.int8), [0]])))
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if runs and first - runs[-1][1] < gap:
            runs[-1] = (runs[-1][0], last)
        else:
            runs.append((first, last))
    return runs


def _shorten(levels: npt.NDArray[np.float64], first: int, last: int) -> list[tuple[int, int]]:
    """Cut a run that is too long where it is quietest in the second half of what fits."""
    longest = round((LONGEST_S - 2 * PADDING_S) * SAMPLE_RATE / FRAME)
    cuts = []
    while last - first > longest:
        window = np.convolve(levels[first + longest // 2 : first + longest], np.ones(9) / 9, mode="same")
        middle = first + longest // 2 + int(np.argmin(window))
        cuts.append((first, middle))
        first = middle
    return [*cuts, (first, last)]


def _pad(runs: list[tuple[int, int]], length: int) -> list[Span]:
    """Frames to samples, each widened by the padding but never into its neighbour."""
    padding = round(PADDING_S * SAMPLE_RATE)
    spans: list[Span] = []
    for index, (first, last) in enumerate(runs):
        after = runs[index + 1][0] * FRAME if index + 1 < len(runs) else length
        start = max(first * FRAME - padding, spans[-1].stop if spans else 0)
        spans.append(Span(start, min(last * FRAME + padding, after)))
    return spans
