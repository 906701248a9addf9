"""What goes in as a file comes out as samples of the right length, and nothing that is uploaded breaks the process."""

import io
import resource
import struct
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import recordings
from tests.recordings import CONTAINERS, recording, silence, tone, truncated
from voxqueue.audio import AudioFormat, Probe, decode, encode, probe
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


def look(data: bytes, max_seconds: float = 900, min_seconds: float = 0.1) -> Probe:
    return probe(io.BytesIO(data), max_seconds=max_seconds, min_seconds=min_seconds)


def seconds(data: bytes) -> float:
    return len(decode(data, max_seconds=900)) / SAMPLE_RATE


def loudest_hz(samples: np.ndarray[Any, Any], rate: int = SAMPLE_RATE) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


def rms(samples: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


# --- what is there ----------------------------------------------------------------------------------------------------

EXPECTED = {
    "ogg": ("ogg", "opus", "audio/ogg", "ogg"),
    "webm": ("webm", "opus", "audio/webm", "webm"),
    "m4a": ("mp4", "aac", "audio/mp4", "m4a"),
    "mp4": ("mp4", "aac", "audio/mp4", "m4a"),
    "mp3": ("mp3", "mp3", "audio/mpeg", "mp3"),
    "wav": ("wav", "pcm_s16le", "audio/wav", "wav"),
    "flac": ("flac", "flac", "audio/flac", "flac"),
    "amr": ("amr", "amr_nb", "audio/amr", "amr"),
    "aac": ("aac", "aac", "audio/aac", "aac"),
}
PADDING_S = {"aac": 0.13, "mp4": 0.13, "m4a": 0.07}  # frames of 1,024 samples, which these cannot declare, or not all


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_is_recognised_with_its_duration(container: str) -> None:
    found = look(recording(tone(2.5), 16_000, container))
    assert (found.container, found.codec, found.media_type, found.extension) == EXPECTED[container]
    assert found.seconds == pytest.approx(2.5, abs=PADDING_S.get(container, 0.06))
    assert found.channels == 1
    assert found.sample_rate == {"ogg": 48_000, "webm": 48_000, "amr": 8_000}.get(container, 16_000)


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_is_decoded_to_the_tone_that_went_in(container: str) -> None:
    samples = decode(recording(tone(2.5), 16_000, container), max_seconds=900)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert samples.flags.c_contiguous
    assert len(samples) / SAMPLE_RATE == pytest.approx(2.5, abs=PADDING_S.get(container, 0.06))
    assert loudest_hz(samples) == pytest.approx(440, abs=2)
    assert rms(samples) == pytest.approx(rms(tone(2.5)), rel=0.2)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_any_rate_is_resampled_without_changing_pitch_or_length(rate: int) -> None:
    samples = decode(recording(tone(3, rate=rate), rate, "wav"), max_seconds=900)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.005)
    assert loudest_hz(samples) == pytest.approx(440, abs=1)


def test_stereo_is_averaged_and_not_made_louder() -> None:
    for container in ("wav", "flac", "mp3"):
        data = recording(tone(1), 16_000, container, channels=2)
        assert look(data).channels == 2
        assert rms(decode(data, max_seconds=9)) == pytest.approx(rms(tone(1)), rel=0.05)


def test_sample_formats_of_pcm_keep_their_level() -> None:
    wave = tone(1)
    for code, width, pcm in (
        (1, 1, (wave * 127 + 128).astype("<u1")),
        (1, 4, (wave * 2_147_483_000.0).astype("<i4")),
        (3, 4, wave.astype("<f4")),
        (3, 8, wave.astype("<f8")),
    ):
        form = struct.pack("<HHIIHH", code, 1, 16_000, 16_000 * width, width, 8 * width)
        body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", pcm.nbytes) + pcm.tobytes()
        samples = decode(b"RIFF" + struct.pack("<I", len(body)) + body, max_seconds=9)
        assert np.abs(samples - wave).max() < 0.02


def test_values_that_are_no_numbers_become_silence() -> None:
    wave = np.array([np.nan, np.inf, -np.inf, 3.0] * 4_000, "<f4")
    form = struct.pack("<HHIIHH", 3, 1, 16_000, 64_000, 4, 32)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", wave.nbytes) + wave.tobytes()
    samples = decode(b"RIFF" + struct.pack("<I", len(body)) + body, max_seconds=9)
    assert samples[:4].tolist() == [0.0, 1.0, -1.0, 1.0]


@pytest.mark.parametrize("unknown", [0, 0xFFFFFFFF])
def test_wav_from_a_pipe_has_no_length_in_its_header_and_is_no_cut_file(unknown: int) -> None:
    data = bytearray(recording(tone(2), 16_000, "wav"))
    struct.pack_into("<I", data, data.find(b"data") + 4, unknown)
    assert look(bytes(data)).seconds == pytest.approx(2, abs=0.05)
    assert seconds(bytes(data)) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize(
    ("muxer", "codec", "rate", "container", "media_type"),
    [
        ("matroska", "flac", 16_000, "matroska", "audio/x-matroska"),
        ("aiff", "pcm_s16be", 16_000, "aiff", "audio/aiff"),
        ("caf", "pcm_s16le", 16_000, "caf", "audio/x-caf"),
        ("3gp", "libopencore_amrnb", 8_000, "3gp", "audio/3gpp"),
        ("mov", "alac", 16_000, "mov", "video/quicktime"),
        ("ogg", "flac", 16_000, "ogg", "audio/ogg"),
    ],
)
def test_rarer_containers(muxer: str, codec: str, rate: int, container: str, media_type: str) -> None:
    out = io.BytesIO()
    with av.open(out, mode="w", format=muxer) as file:
        stream = file.add_stream(codec, rate=rate)
        context = stream.codec_context
        assert isinstance(context, av.AudioCodecContext)
        context.layout = "mono"
        context.open()
        resampler = av.AudioResampler(context.format, "mono", rate, context.frame_size or 1_024)
        frame = av.AudioFrame.from_ndarray(tone(2, rate=rate)[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for part in (frame, None):
            for piece in resampler.resample(part):
                file.mux(context.encode(piece))
        file.mux(context.encode(None))
    found = look(out.getvalue())
    assert (found.container, found.media_type) == (container, media_type)
    assert found.seconds == pytest.approx(2, abs=0.1)
    assert seconds(out.getvalue()) == pytest.approx(2, abs=0.1)
    if container != "ogg":  # a FLAC frame in Ogg fills the only page, which a later check of its own covers
        with pytest.raises(AudioTruncated):
            look(truncated(out.getvalue()))


def test_mp3_without_the_tag_that_gives_its_length_is_walked_over() -> None:
    data = recording(tone(3), 16_000, "mp3")
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    assert tag > 0
    headless = data[:tag] + b"\0\0\0\0" + data[tag + 4 :]
    assert look(headless).seconds == pytest.approx(3, abs=0.15)
    assert look(truncated(headless, 0.5)).seconds == pytest.approx(
        1.5, abs=0.2
    )  # nothing in it says that more was meant


def test_two_recordings_in_one_ogg_file_count_both() -> None:
    data = recording(tone(2), 16_000, "ogg") + recording(tone(3), 16_000, "ogg")
    assert look(data).seconds == pytest.approx(5, abs=0.1)
    assert seconds(data) == pytest.approx(5, abs=0.1)


def test_probe_starts_at_the_beginning_and_leaves_the_file_there() -> None:
    with tempfile.TemporaryFile() as file:  # its name is a number, which PyAV refuses
        file.write(recording(tone(1), 16_000, "ogg"))
        assert probe(file, max_seconds=9, min_seconds=0).seconds == pytest.approx(1, abs=0.05)
        assert file.tell() == 0
        file.seek(7)
        with pytest.raises(AudioTooLong):
            probe(file, max_seconds=0.5, min_seconds=0)
        assert file.tell() == 0


def test_probing_a_long_ogg_note_reads_only_a_small_part_of_it() -> None:
    class Counted(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            part = super().read(size)
            self.taken += len(part)
            return part

    data = recording(tone(300), 16_000, "ogg")
    file = Counted(data)
    assert probe(file, max_seconds=900, min_seconds=0).seconds == pytest.approx(300, abs=0.1)
    assert 0 < file.taken < len(data) / 4


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


# --- what is damaged --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["ogg", "mp3", "aac", "wav", "webm"])
def test_a_damaged_patch_costs_itself_and_not_the_rest(container: str) -> None:
    data = bytearray(recording(tone(30), 16_000, container))
    middle, patch = len(data) // 2, len(data) // 60
    data[middle : middle + patch] = recordings.random_bytes(patch, 7)
    samples = decode(bytes(data), max_seconds=900)
    assert 28 < len(samples) / SAMPLE_RATE < 31
    last = samples[-10 * SAMPLE_RATE : -SAMPLE_RATE // 2]
    assert loudest_hz(last) == pytest.approx(440, abs=1)
    assert rms(last) == pytest.approx(rms(tone(1)), rel=0.15)


def test_a_probe_accepts_an_ogg_file_with_a_damaged_page() -> None:
    data = bytearray(recording(tone(30), 16_000, "ogg"))
    page = data.find(b"OggS", len(data) // 2)
    data[page : page + 40] = b"\xff" * 40
    assert look(bytes(data)).seconds == pytest.approx(30, abs=0.1)


# --- many at once -----------------------------------------------------------------------------------------------------


def test_threads_decode_side_by_side_with_equal_results() -> None:
    data = {container: recording(tone(4, hz=300 + 50 * i), 16_000, container) for i, container in enumerate(CONTAINERS)}
    alone = {container: decode(note, max_seconds=900) for container, note in data.items()}
    work = [container for container in CONTAINERS for _ in range(6)]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda container: decode(data[container], max_seconds=900), work))
    for container, samples in zip(work, together, strict=True):
        assert np.array_equal(samples, alone[container]), container


# --- making files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("audio_format", AudioFormat)
@pytest.mark.parametrize("rate", [8_000, 9_999, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_what_is_encoded_has_the_same_length_and_tone_when_decoded(audio_format: AudioFormat, rate: int) -> None:
    data = encode(tone(1.37, rate=rate), rate, audio_format)
    found = look(data)
    assert found.media_type == audio_format.media_type
    assert found.extension == audio_format.extension
    assert found.seconds == pytest.approx(1.37, abs=0.06)
    samples = decode(data, max_seconds=9)
    assert len(samples) / SAMPLE_RATE == pytest.approx(1.37, abs=0.06)
    assert loudest_hz(samples) == pytest.approx(440, abs=2)
    assert rms(samples) == pytest.approx(rms(tone(1.37)), rel=0.1)


@pytest.mark.parametrize("audio_format", AudioFormat)
@pytest.mark.parametrize("count", [0, 1, 100])
def test_next_to_nothing_becomes_a_valid_file_of_next_to_nothing(audio_format: AudioFormat, count: int) -> None:
    for rate in (8_000, 22_050, 48_000):
        data = encode(np.full(count, 0.1, np.float32), rate, audio_format)
        assert look(data, min_seconds=0).seconds <= 0.1
        assert 0 < seconds(data) <= 0.1


@pytest.mark.parametrize("audio_format", AudioFormat)
def test_what_is_too_loud_is_clipped_and_what_is_no_number_is_silent(audio_format: AudioFormat) -> None:
    wild = 30 * tone(0.5)
    wild[:100] = np.nan
    samples = decode(encode(wild, 16_000, audio_format), max_seconds=9)
    assert 0.7 < rms(samples) <= 1


def test_encode_refuses_what_is_no_waveform() -> None:
    with pytest.raises(ValueError, match="shape"):
        encode(np.zeros((2, 100), np.float32), 16_000, AudioFormat.OGG)
    for rate in (0, 7_999, 96_000):
        with pytest.raises(ValueError, match="sample_rate"):
            encode(silence(1), rate, AudioFormat.WAV)


def test_media_types_and_extensions_of_what_we_write() -> None:
    assert {f.value: f.media_type for f in AudioFormat} == {
        "ogg": "audio/ogg",
        "mp3": "audio/mpeg",
        "m4a": "audio/mp4",
        "wav": "audio/wav",
        "flac": "audio/flac",
    }
    assert [f.extension for f in AudioFormat] == ["ogg", "mp3", "m4a", "wav", "flac"]


# --- real ones --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(recordings.SHARED_AUDIO is None, reason="no folder of real recordings (VOXQUEUE_TEST_AUDIO)")
def test_real_recordings_last_as_long_as_their_manifest_says() -> None:
    assert recordings.SHARED_AUDIO is not None
    found = recordings.real_recordings()
    assert found
    for entry in found:
        data = (recordings.SHARED_AUDIO / entry["file"]).read_bytes()
        assert look(data).seconds == pytest.approx(entry["duration_s"], rel=0.05), entry["file"]
        samples = decode(data, max_seconds=900)
        assert len(samples) / SAMPLE_RATE == pytest.approx(entry["duration_s"], rel=0.05), entry["file"]
        assert 0.0005 < rms(samples) < 0.5, entry["file"]


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
