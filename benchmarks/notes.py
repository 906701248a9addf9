"""Notes for benchmarks. Where an engine listens, espeak-ng reads: speech to any voice detector, and no download."""

import numpy as np

from voxqueue.audio import AudioFormat, encode
from voxqueue.stages import SAMPLE_RATE, Samples

_TEXT = (
    "Hello, this is about the meeting on Monday. I have looked at the numbers once more, and the second column does "
    "not add up. Could you ask Anna whether she has the newer file? The train leaves at a quarter past seven, so "
    "please call me before six if anything changes. I will bring the blue folder, the keys and two umbrellas. "
)


def spoken_notes(count: int, shortest_s: float, longest_s: float, seed: int = 0) -> list[Samples]:
    """Notes of evenly spread lengths in random order, each from another place of the same speech."""
    from workers.engines.tts.espeak import espeak

    speaker = espeak()
    spoken = speaker.speak(_TEXT, "en-us", 160, 600)
    assert spoken is not None
    seconds = np.arange(0, len(spoken) / speaker.sample_rate, 1 / SAMPLE_RATE)
    speech = np.interp(seconds, np.arange(len(spoken)) / speaker.sample_rate, spoken).astype(np.float32)
    random = np.random.default_rng(seed)
    lengths = random.permutation(np.linspace(shortest_s, longest_s, count))
    notes = []
    for length in lengths:
        begin = int(random.integers(0, len(speech)))
        wanted = round(length * SAMPLE_RATE)
        notes.append(np.resize(np.roll(speech, -begin), wanted))
    return notes


def beep() -> bytes:
    """A tone of two seconds in Ogg/Opus, for engines that only pretend to listen."""
    seconds = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    return encode((0.3 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32), SAMPLE_RATE, AudioFormat.OGG)
