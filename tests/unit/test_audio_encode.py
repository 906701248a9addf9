"""What is written as a file holds what it was made from."""

import numpy as np
import pytest

from tests.recordings import silence, tone
from tests.sound import look, loudest_hz, rms, seconds
from voxqueue.audio import AudioFormat, decode, encode
from voxqueue.stages import SAMPLE_RATE

pytestmark = pytest.mark.unit


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
