"""Recordings for tests: made here, or real ones from a folder outside the repository. Nothing of what is under test."""

import io
import json
import os
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

CONTAINERS = ("ogg", "webm", "m4a", "mp3", "wav", "flac", "amr", "aac", "mp4")
"""What `recording` can write."""


def _shared_audio() -> Path | None:
    named = os.environ.get("VOXQUEUE_TEST_AUDIO")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "audio"
    return folder if (folder / "manifest.jsonl").is_file() else None


SHARED_AUDIO: Path | None = _shared_audio()
"""A folder of real recordings with a ``manifest.jsonl``, or None where there is none."""


def real_recordings() -> list[dict[str, Any]]:
    """What the manifest says: ``file``, ``text``, ``language``, ``duration_s``, ... Empty without the folder."""
    if SHARED_AUDIO is None:
        return []
    lines = (SHARED_AUDIO / "manifest.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def tone(seconds: float, hz: float = 440, rate: int = 16_000) -> Samples:
    """A sine at a third of full scale."""
    time = np.arange(round(seconds * rate)) / rate
    return (np.sin(2 * np.pi * hz * time) / 3).astype(np.float32)


def silence(seconds: float, rate: int = 16_000) -> Samples:
    return np.zeros(round(seconds * rate), np.float32)


# Container -> muxer, codec, its rate (None: the samples' own), sample format, muxer options.
_WRITING: dict[str, tuple[str, str, int | None, str, dict[str, str]]] = {
    "ogg": ("ogg", "libopus", 48_000, "flt", {}),
    "webm": ("webm", "libopus", 48_000, "flt", {"live": "1"}),  # as browsers record: no duration, open clusters
    "m4a": ("ipod", "aac", None, "fltp", {}),
    "mp3": ("mp3", "libmp3lame", None, "fltp", {}),
    "wav": ("wav", "pcm_s16le", None, "s16", {}),
    "flac": ("flac", "flac", None, "s16", {}),
    "amr": ("amr", "libopencore_amrnb", 8_000, "s16", {}),
    "aac": ("adts", "aac", None, "fltp", {}),
    "mp4": ("mp4", "aac", None, "fltp", {"movflags": "empty_moov+default_base_moof", "frag_duration": "1000000"}),
}


def recording(samples: Samples, rate: int, container: str, channels: int = 1) -> bytes:
    """Samples as a file. ``mp4`` is written in fragments, as Safari does, and ``webm`` as Chrome does."""
    muxer, codec, codec_rate, sample_format, options = _WRITING[container]
    layout = {1: "mono", 2: "stereo"}[channels]
    out = io.BytesIO()
    with av.open(out, mode="w", format=muxer, options=options) as file:
        stream = file.add_stream(codec, rate=codec_rate or rate)
        context = stream.codec_context
        assert isinstance(context, av.AudioCodecContext)
        context.layout, context.format = layout, sample_format
        context.open()
        resampler = av.AudioResampler(sample_format, layout, codec_rate or rate, context.frame_size)
        repeated = np.ascontiguousarray(np.repeat(samples, channels)[None])
        whole = av.AudioFrame.from_ndarray(repeated, format="flt", layout=layout)
        whole.sample_rate, whole.pts, whole.time_base = rate, 0, Fraction(1, rate)
        for part in (whole, None):
            for frame in resampler.resample(part):
                file.mux(context.encode(frame))
        file.mux(context.encode(None))
    return out.getvalue()


def video_without_sound() -> bytes:
    """Half a second of a grey picture, as MP4."""
    out = io.BytesIO()
    with av.open(out, mode="w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(5):
            grey = np.full((32, 32, 3), 128, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        file.mux(stream.encode(None))
    return out.getvalue()


@cache
def opus_bomb(hours: float) -> bytes:
    """A small Ogg file that holds hours of silence: one packet of 120 ms, again and again."""
    tick = Fraction(1, 48_000)
    out = io.BytesIO()
    with av.open(out, mode="w", format="ogg") as file:
        stream = file.add_stream("libopus", rate=48_000, options={"frame_duration": "120", "vbr": "on"})
        context = stream.codec_context
        assert isinstance(context, av.AudioCodecContext)
        context.layout, context.format, context.bit_rate = "mono", "flt", 500
        context.open()
        step = context.frame_size
        quiet = av.AudioFrame.from_ndarray(np.zeros((1, step), np.float32), format="flt", layout="mono")
        quiet.sample_rate = 48_000
        payload = bytes((context.encode(quiet) + context.encode(None))[0])
        for number in range(round(hours * 3600 * 48_000 / step)):
            packet = av.Packet(payload)
            packet.stream, packet.time_base = stream, tick
            packet.pts = packet.dts = number * step
            packet.duration = step
            file.mux(packet)
    return out.getvalue()


def hls_playlist(address: str = "http://127.0.0.1:9/secret.ts") -> bytes:
    """A playlist that would make a careless player fetch an address."""
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{address}\n#EXT-X-ENDLIST\n".encode()


def ffconcat(path: str = "/etc/passwd") -> bytes:
    """A list that would make a careless player open another file."""
    return f"ffconcat version 1.0\nfile '{path}'\n".encode()


def truncated(data: bytes, keep: float = 0.6) -> bytes:
    """The first part of a file, as an interrupted upload leaves it."""
    return data[: int(len(data) * keep)]


def random_bytes(n: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(n)
