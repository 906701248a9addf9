"""What comes in as a file becomes samples of the right length."""

import io
import struct
import tempfile
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import numpy as np
import pytest

from tests import recordings
from tests.recordings import CONTAINERS, recording, tone, truncated
from tests.sound import look, loudest_hz, rms, seconds
from voxqueue.audio import decode, probe
from voxqueue.errors import (
    AudioTooLong,
    AudioTruncated,
)
from voxqueue.stages import SAMPLE_RATE

pytestmark = pytest.mark.unit


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
