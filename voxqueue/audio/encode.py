"""Makes a file from samples: speech as somebody's player wants it."""

import io
import struct
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream

from voxqueue.audio.formats import AudioFormat
from voxqueue.stages import Samples

SHORTEST_S = 0.02
"""What is shorter is filled up with silence: codecs write nothing for less, and players fail on an empty file."""


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How FFmpeg writes one format."""

    muxer: str
    codec: str
    sample_format: str
    bit_rate: int | None = None
    lowest_rate: int = 0
    options: dict[str, str] = field(default_factory=dict)


_ENCODINGS = {
    # "voip" and level 10 take three times as long and sound no better at this rate.
    AudioFormat.OGG: _Encoding(
        "ogg", "libopus", "flt", 32_000, options={"application": "audio", "compression_level": "5"}
    ),
    AudioFormat.MP3: _Encoding("mp3", "libmp3lame", "fltp", 64_000),
    # AAC pads to whole frames of 1,024 samples, which players play: 43 ms at 24 kHz, but 128 ms at 8 kHz.
    AudioFormat.M4A: _Encoding("ipod", "aac", "fltp", 64_000, lowest_rate=24_000),
    AudioFormat.FLAC: _Encoding("flac", "flac", "s16"),
}


def encode(samples: Samples, sample_rate: int, audio_format: AudioFormat) -> bytes:
    """Encode mono samples in [-1, 1], shape ``[n]``, 8,000 to 48,000 per second, as a file.

    What is louder is clipped. What is shorter than `SHORTEST_S`, an empty waveform too, is filled up with silence.

    Raises:
        ValueError: The shape or the rate is another.
    """
    check_waveform(samples, sample_rate)
    missing = max(0, round(SHORTEST_S * sample_rate) - samples.size)
    clean = np.clip(np.nan_to_num(np.pad(samples.astype(np.float32, copy=False), (0, missing))), -1.0, 1.0)
    if audio_format is AudioFormat.WAV:
        return _wav(clean, sample_rate)
    return _with_codec(clean, sample_rate, _ENCODINGS[audio_format])


def check_waveform(samples: Samples, sample_rate: int) -> None:
    """Raise ValueError unless the samples have the shape ``[n]`` and there are 8,000 to 48,000 of them per second."""
    if samples.ndim != 1:
        raise ValueError(f"samples must have the shape [n], not {samples.shape}")
    if not 8_000 <= sample_rate <= 48_000:
        raise ValueError(f"sample_rate must lie between 8000 and 48000, not {sample_rate}")


def _wav(samples: Samples, sample_rate: int) -> bytes:
    """16-bit PCM. Written by hand: FFmpeg takes fifty times as long."""
    pcm = np.rint(samples * 32_767).astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + len(pcm), b"WAVE") + form + struct.pack("<4sI", b"data", len(pcm)) + pcm


def _with_codec(samples: Samples, sample_rate: int, encoding: _Encoding) -> bytes:
    rates = av.Codec(encoding.codec, "w").audio_rates or [sample_rate]
    rate = min(r for r in rates if r >= max(sample_rate, encoding.lowest_rate))  # upwards, so that nothing is lost
    out = io.BytesIO()
    with av.open(out, mode="w", format=encoding.muxer) as file:
        stream = cast(AudioStream, file.add_stream(encoding.codec, rate=rate, options=encoding.options))
        codec = stream.codec_context
        codec.layout = "mono"
        codec.format = encoding.sample_format
        codec.thread_count = 1
        if encoding.bit_rate:
            codec.bit_rate = encoding.bit_rate
        codec.open()
        resampler = av.AudioResampler(encoding.sample_format, "mono", rate, codec.frame_size)
        whole = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        whole.sample_rate = sample_rate
        # Else the file would not say what the codec put before.
        whole.pts, whole.time_base = 0, Fraction(1, sample_rate)
        for part in (whole, None):
            for frame in resampler.resample(part):
                file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()
