"""Makes synthetic speech ready for somebody's ears: no silence around it, and as loud as other speech.

It must know nothing of engines or of files.
"""

from fractions import Fraction

import av
import numpy as np
from av.error import BlockingIOError as NothingMore
from av.error import EOFError as AtEnd

from voxqueue.audio.encode import check_waveform
from voxqueue.stages import Samples

LOUDNESS_LUFS = -19.0
"""Integrated loudness by ITU-R BS.1770: for one channel, what -16 is for the two of a podcast. Speech reaches more
only where its peaks are pressed down."""

PEAK = 10 ** (-1 / 20)
"""-1 dBFS. The decibel above it is for what the waveform does between two samples: up to 0.8 dB in real speech."""

MOST_GAIN = 10 ** (20 / 20)
"""+20 dB. What needs more is hardly speech, and its noise would come up with it."""

BEFORE_S = 0.05
AFTER_S = 0.15

_WINDOW_S = 0.01
_QUIETEST = 10 ** (-45 / 10)  # of the loudest window's power: consonants at the ends of words lie some 30 dB below it
_SILENT = 10 ** (-70 / 10)  # what BS.1770 itself counts as silence
_BLOCK_S = 0.4  # BS.1770 measures in blocks of this length, and FFmpeg says nothing about less


def finish(samples: Samples, sample_rate: int) -> Samples:
    """Trim the silence at both ends and bring the speech to `LOUDNESS_LUFS`.

    `BEFORE_S` and `AFTER_S` of what was there stay; nothing is added. One gain holds for all of it, so that nothing is
    compressed: speech with high peaks stays more quiet, for they end at `PEAK`. Of mere silence the margins remain.

    Args:
        samples: Mono float32 in [-1, 1], shape ``[n]``. What is not finite counts as silence or full scale.
        sample_rate: 8,000 to 48,000 per second.

    Returns:
        A new waveform, shape ``[at most n]``, of the same kind and rate.

    Raises:
        ValueError: The shape or the rate is another.
    """
    check_waveform(samples, sample_rate)
    clean = np.nan_to_num(samples.astype(np.float32, copy=False), posinf=1.0, neginf=-1.0)
    start, stop = _find_sound(clean, sample_rate)
    if start == stop:
        return clean[: round((BEFORE_S + AFTER_S) * sample_rate)]
    kept = clean[max(0, start - round(BEFORE_S * sample_rate)) : stop + round(AFTER_S * sample_rate)]
    wanted = 10 ** ((LOUDNESS_LUFS - _loudness(clean[start:stop], sample_rate)) / 20)
    finished: Samples = kept * np.float32(min(wanted, MOST_GAIN, PEAK / np.abs(kept).max()))
    return finished


def _find_sound(samples: Samples, sample_rate: int) -> tuple[int, int]:
    """Where the first window that is no silence starts and the last one stops; twice the same if there is none.

    FFmpeg's `silenceremove` knows absolute thresholds only and takes ten times as long. A constant offset is silence.
    """
    window = round(_WINDOW_S * sample_rate)
    windows = np.pad(samples, (0, -samples.size % window), "edge" if samples.size else "constant")
    power = windows.reshape(-1, window).var(axis=1, dtype=np.float64)
    heard = np.flatnonzero(power > max(_SILENT, _QUIETEST * power.max(initial=0.0)))
    if not heard.size:
        return 0, 0
    return int(heard[0]) * window, min(samples.size, (int(heard[-1]) + 1) * window)


def _loudness(samples: Samples, sample_rate: int) -> float:
    """Integrated loudness in LUFS, from -70 upwards. What is shorter than a block is measured as if it went on."""
    block = round(_BLOCK_S * sample_rate)
    long_enough = samples if samples.size >= block else np.resize(samples, block)
    graph = av.filter.Graph()
    time_base = Fraction(1, sample_rate)
    source = graph.add_abuffer(sample_rate=sample_rate, format="flt", layout="mono", time_base=time_base)
    meter, sink = graph.add("ebur128", "metadata=1"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(long_enough[None], format="flt", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = sample_rate, time_base, 0
    source.push(frame)
    source.push(None)
    loudness = -70.0
    while True:  # a frame each 0.1 s, that says how loud it was until there
        try:
            loudness = float(sink.pull().metadata.get("lavfi.r128.I", loudness))
        except (NothingMore, AtEnd):
            return loudness
