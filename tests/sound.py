"""What tests ask of a recording: how long it is, how high, how loud."""

import io
from typing import Any

import numpy as np

from voxqueue.audio import Probe, decode, probe
from voxqueue.stages import SAMPLE_RATE


def look(data: bytes, max_seconds: float = 900, min_seconds: float = 0.1) -> Probe:
    return probe(io.BytesIO(data), max_seconds=max_seconds, min_seconds=min_seconds)


def seconds(data: bytes) -> float:
    return len(decode(data, max_seconds=900)) / SAMPLE_RATE


def loudest_hz(samples: np.ndarray[Any, Any], rate: int = SAMPLE_RATE) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


def rms(samples: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
