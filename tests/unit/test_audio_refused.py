"""Nothing that is uploaded breaks the process: what cannot be used is refused, with its reason."""

import io
import resource
import struct
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import recordings
from tests.recordings import CONTAINERS, recording, tone, truncated
from tests.sound import look, rms, seconds
from voxqueue.audio import decode, probe
from voxqueue.errors import (
    AudioCorrupt,
    AudioError,
    AudioTooLong,
    AudioTooShort,
    AudioTruncated,
    DeadlineExceeded,
    EmptyAudio,
    NoAudioStream,
    NotAudio,
    VoxqueueError,
)
from voxqueue.stages import SAMPLE_RATE

pytestmark = pytest.mark.unit


# --- what is refused --------------------------------------------------------------------------------------------------

HOSTILE: dict[str, tuple[type[AudioError], bytes]] = {
    "nothing": (EmptyAudio, b""),
    "one byte": (NotAudio, b"O"),
    "zeros": (NotAudio, bytes(10_000)),
    "text": (NotAudio, b"Dear diary, today I renamed a file to note.ogg.\n" * 50),
    "random": (NotAudio, b"\x00" + recordings.random_bytes(50_000, 1)),
    "random that looks like mp3": (NotAudio, b"\xff\xfb" + recordings.random_bytes(200_000, 2)),
    "random that looks like aac": (NotAudio, b"\xff\xf1" + recordings.random_bytes(200_000, 2)),
    "a word that begins like a tag": (NotAudio, b"ID3 is what music files begin with"),
    "a playlist": (NotAudio, recordings.hls_playlist()),
    "a list of files": (NotAudio, recordings.ffconcat()),
    "a picture": (NotAudio, b"\x89PNG\r\n\x1a\n" + recordings.random_bytes(5_000, 3)),
    "video without sound": (NoAudioStream, recordings.video_without_sound()),
    "pages of noise": (AudioCorrupt, b"OggS" + recordings.random_bytes(100_000, 3)),
    "a header without sound": (AudioCorrupt, recording(tone(1), 16_000, "wav")[:36]),
    "too short": (AudioTooShort, recording(tone(0.05), 16_000, "wav")),
    "wav without a sample": (
        AudioTooShort,
        b"RIFF\x24\0\0\0" + recording(tone(1), 16_000, "wav")[8:36] + b"data" + bytes(4),
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_used_is_refused_with_its_reason(name: str) -> None:
    expected, data = HOSTILE[name]
    with pytest.raises(AudioError) as caught:
        look(data)
    assert type(caught.value) is expected
    assert caught.value.detail.endswith(".")
    assert "av." not in caught.value.detail


@pytest.mark.parametrize("name", [name for name, (kind, _) in HOSTILE.items() if kind is not AudioTooShort])
def test_decoding_what_cannot_be_used_is_an_error_of_ours(name: str) -> None:
    with pytest.raises(AudioError):
        decode(HOSTILE[name][1], max_seconds=900)


def test_no_playlist_makes_us_fetch_an_address_or_open_a_file(tmp_path: Path) -> None:
    visits: list[str] = []
    import http.server

    class Trap(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            visits.append(self.path)
            self.send_error(404)

    note = tmp_path / "note.wav"
    note.write_bytes(recording(tone(1), 16_000, "wav"))
    with http.server.HTTPServer(("127.0.0.1", 0), Trap) as trap:
        thread = threading.Thread(target=trap.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{trap.server_port}/a.ts"
        for lure in (recordings.hls_playlist(address), recordings.ffconcat(address), recordings.ffconcat(str(note))):
            for refuse in (look, seconds):
                with pytest.raises(NotAudio):
                    refuse(lure)
        trap.shutdown()
        thread.join()
    assert visits == []


CUTTABLE = [container for container in CONTAINERS if container not in ("amr", "aac")]  # these two promise nothing


@pytest.mark.parametrize("container", CUTTABLE)
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_recording_that_was_cut_is_told_from_a_short_one(container: str, keep: float) -> None:
    with pytest.raises(AudioTruncated, match="send it again"):
        look(truncated(recording(tone(5), 16_000, container), keep))


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_recording_may_last_exactly_as_long_as_allowed_but_no_longer(container: str) -> None:
    data = recording(tone(3), 16_000, container)
    assert look(data, max_seconds=3.2).seconds <= 3.2
    with pytest.raises(AudioTooLong, match="longer than the 2 s that are allowed"):
        look(data, max_seconds=2)
    with pytest.raises(AudioTooShort, match="at least 4 s are needed"):
        look(data, min_seconds=4)


def test_ten_hours_in_a_small_file_are_refused_at_once() -> None:
    bomb = recordings.opus_bomb(10)
    assert len(bomb) < 4_000_000
    with pytest.raises(AudioTooLong, match="longer than the 15:00 min"):
        look(bomb)


def test_decoding_stops_at_the_longest_that_is_allowed() -> None:
    bomb = recordings.opus_bomb(10)
    with pytest.raises(AudioTooLong):
        decode(bomb, max_seconds=20)
    with pytest.raises(DeadlineExceeded):
        decode(bomb, max_seconds=1e9, budget_s=0.2)


def test_a_header_that_lies_about_the_duration_does_not_get_past_decoding() -> None:
    data = bytearray(recording(tone(30), 16_000, "m4a"))
    for atom, offset in ((b"mdhd", 20), (b"mvhd", 20), (b"tkhd", 24)):
        struct.pack_into(">I", data, data.find(atom) + offset, 100)
    with pytest.raises(AudioTooLong):
        decode(bytes(data), max_seconds=5)


@pytest.mark.parametrize(
    ("muxer", "codec", "chunk"),
    [
        ("wav", "pcm_s16le", b"LIST" + struct.pack("<I", 0x7FFFFF00) + b"INFOINAM" + struct.pack("<I", 0x7FFFFE00)),
        ("wav", "pcm_s16le", b"fmt " + struct.pack("<I", 0x7FFFFF00)),
        ("aiff", "pcm_s16be", b"NAME" + struct.pack(">I", 0x7FFFFF00)),
        ("caf", "pcm_s16le", b"kuki" + struct.pack(">q", 0x7FFFFF00)),
    ],
)
@pytest.mark.parametrize("behind", [True, False])
def test_a_chunk_that_claims_gigabytes_does_not_get_them(muxer: str, codec: str, chunk: bytes, behind: bool) -> None:
    out = io.BytesIO()
    with av.open(out, mode="w", format=muxer) as file:
        stream = file.add_stream(codec, rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((tone(1) * 32_767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        assert isinstance(stream.codec_context, av.AudioCodecContext)
        file.mux(stream.codec_context.encode(frame))
    data = out.getvalue()
    start = 8 if muxer == "caf" else 12
    data = data + chunk + bytes(100) if behind else data[:start] + chunk + data[start:]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for use in (look, seconds):
        try:
            use(data)
        except AudioError:
            continue
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert kilobytes < 500_000


@pytest.mark.parametrize("channels", [2, 7, 8, 16, 40])
def test_many_channels_are_mixed_or_refused_and_never_crash(channels: int) -> None:
    wave = np.repeat((tone(1) * 32_767).astype("<i2"), channels)
    form = struct.pack("<HHIIHH", 1, channels, 16_000, 32_000 * channels, 2 * channels, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", wave.nbytes) + wave.tobytes()
    data = b"RIFF" + struct.pack("<I", len(body)) + body
    if channels <= 7:
        assert look(data).channels == channels
        assert rms(decode(data, max_seconds=9)) == pytest.approx(rms(tone(1)), rel=0.01)
    else:
        for use in (look, seconds):
            with pytest.raises(AudioCorrupt, match=f"{channels} channels; at most 7"):
                use(data)


def test_a_damaged_packet_that_claims_many_channels_is_left_out() -> None:
    """Such a frame crashed the process: PyAV reads past the end of its list of planes."""
    stereo = recording(tone(0.5), 16_000, "aac", channels=2)
    out = io.BytesIO()
    with av.open(out, mode="w", format="adts") as file:
        stream = file.add_stream("aac", rate=16_000, layout="7.1")
        assert isinstance(stream.codec_context, av.AudioCodecContext)
        stream.codec_context.open()
        loud = np.repeat(tone(1)[None], 8, axis=0).reshape(8, -1)
        resampler = av.AudioResampler("fltp", "7.1", 16_000, stream.codec_context.frame_size)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(loud.T.reshape(1, -1)), format="flt", layout="7.1")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
        for part in (frame, None):
            for piece in resampler.resample(part):
                file.mux(stream.codec_context.encode(piece))
    samples = decode(stereo + out.getvalue() + stereo, max_seconds=9)
    assert 0.9 < len(samples) / SAMPLE_RATE < 1.3


def test_a_failing_disk_is_not_blamed_on_the_recording() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 100:
                raise OSError(5, "Input/output error")
            return super().read(size)

    with pytest.raises(OSError, match="Input/output error"):
        probe(Failing(recording(tone(3), 16_000, "flac")), max_seconds=9, min_seconds=0)


# --- whatever people think of -----------------------------------------------------------------------------------------

SEEDS = [recording(tone(0.4), 16_000, container) for container in CONTAINERS] + [recordings.video_without_sound()]


@st.composite
def broken_files(draw: st.DrawFn) -> bytes:
    """A good file with bytes changed, cut out, put in or cut off."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 6))):
        # Headers are where the harm is, so half of the changes go there.
        at = draw(st.one_of(st.integers(0, min(300, len(data) - 1)), st.integers(0, len(data) - 1)))
        new = draw(
            st.one_of(
                st.binary(min_size=0, max_size=16), st.sampled_from([b"\xff" * 8, bytes(8), b"\x7f" + b"\xff" * 7])
            )
        )
        data[at : at + draw(st.sampled_from([0, len(new), 40]))] = new
        if not data:
            break
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


def survives(data: bytes) -> None:
    began = time.perf_counter()
    for use in (look, seconds):
        try:
            use(data)
        except VoxqueueError as error:
            assert error.detail  # noqa: PT017 - any of our errors will do, anything else fails the test
    assert time.perf_counter() - began < 10


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(broken_files())
def test_broken_files_raise_nothing_but_our_errors(data: bytes) -> None:
    survives(data)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(
    st.sampled_from([seed[:12] for seed in SEEDS] + [b"", b"ID3\4\0\0\0\0\0\1", b"FORM\0\0\0\1AIFF", b"caff\0\1\0\0"]),
    st.binary(),
)
def test_noise_behind_a_good_beginning_raises_nothing_but_our_errors(beginning: bytes, noise: bytes) -> None:
    survives(beginning + noise)
    survives(beginning + noise * 500)
