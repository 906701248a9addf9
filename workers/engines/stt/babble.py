"""Sound that voice detectors take for speech, made of nothing: for warming up, where no recording is at hand."""

import numpy as np

from voxqueue.stages import SAMPLE_RATE, Samples

_HARMONICS = 30
_PITCH_HZ = 120.0
_SYLLABLES_PER_S = 4.0


def babble(seconds: float) -> Samples:
    """A voice that moves its pitch and two formants, in syllables. Float32 in [-1, 1] at 16 kHz, shape ``[n]``."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = _PITCH_HZ * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    first = 500 + 250 * np.sin(np.pi * _SYLLABLES_PER_S * time)
    second = 1500 + 500 * np.sin(2 * np.pi / 3 * _SYLLABLES_PER_S * time + 1)
    voice = np.zeros_like(time)
    for harmonic in range(1, _HARMONICS):
        frequency = pitch * harmonic
        loudness = 1 / (1 + ((frequency - first) / 90) ** 2) + 0.6 / (1 + ((frequency - second) / 110) ** 2)
        voice += loudness * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * _SYLLABLES_PER_S * time) * 1.5 + 0.7, 0, 1)
    speech: Samples = (0.3 * voice * syllables / np.abs(voice).max(initial=1e-9)).astype(np.float32)
    return speech
