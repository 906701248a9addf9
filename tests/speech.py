"""Speech for tests, made by espeak-ng. Not the same to the last sample from call to call."""

import numpy as np
import numpy.typing as npt

from workers.engines.tts.espeak import DEFAULT_VOICE, espeak


def speak(text: str, rate_wpm: int = 140) -> tuple[npt.NDArray[np.float32], int]:
    """An American voice says the text: mono float32 samples in [-1, 1], and their rate in samples per second."""
    synthesiser = espeak()
    samples = synthesiser.speak(text, DEFAULT_VOICE, rate_wpm, most_seconds=120)
    assert samples is not None
    return samples, synthesiser.sample_rate
