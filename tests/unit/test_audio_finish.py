"""Synthetic speech comes out as loud as other speech, without silence around it, and never clipped."""

import io
import json

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.filter import loudnorm

from tests.speech import speak
from voxqueue.audio import AudioFormat, encode, finish
from voxqueue.audio.finish import AFTER_S, BEFORE_S, LOUDNESS_LUFS, MOST_GAIN, PEAK

pytestmark = pytest.mark.unit

Samples = npt.NDArray[np.float32]
RATES = [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000]
ROUNDING = 1e-6


def tone(seconds: float, rate: int = 24_000, level: float = 0.1) -> Samples:
    clock = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * 440 * clock)).astype(np.float32)


def silence(seconds: float, rate: int = 24_000) -> Samples:
    return np.zeros(round(seconds * rate), np.float32)


def loudness(samples: Samples, rate: int) -> float:
    """LUFS of the file that somebody would get, by `loudnorm`: it measures with other code than the filter we use."""
    with av.open(io.BytesIO(encode(samples, rate, AudioFormat.WAV))) as file:
        report = loudnorm.stats("print_format=json", file.streams.audio[0])
    return float(json.loads(report)["input_i"])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("level", [0.03, 0.2, 0.9])
def test_a_tone_comes_out_as_loud_as_wanted(rate: int, level: float) -> None:
    """A tone has low peaks, so that nothing stands between its level and the one we want."""
    finished = finish(tone(3, rate, level), rate)
    assert loudness(finished, rate) == pytest.approx(LOUDNESS_LUFS, abs=1)
    assert finished.dtype == np.float32
    assert finished.shape == (3 * rate,)


@pytest.mark.parametrize("level", [0.2, 1.0])
def test_speech_comes_out_as_loud_as_its_peaks_allow(level: float) -> None:
    samples, rate = speak("Hello there. I hope that all of you are well today, and that you have slept enough.")
    finished = finish((samples * level).astype(np.float32), rate)
    peak = float(np.abs(finished).max())
    assert peak <= PEAK + ROUNDING
    loud = loudness(finished, rate)
    assert loud == pytest.approx(LOUDNESS_LUFS, abs=1) or (loud < LOUDNESS_LUFS and peak == pytest.approx(PEAK))


def test_speech_is_not_compressed_and_its_level_makes_no_difference() -> None:
    """One gain holds for all of it: a compressor would make the quiet half louder than the loud one."""
    halves = np.concatenate([tone(2, level=0.02), tone(2, level=0.2)])
    finished = finish(halves, 24_000)
    assert np.abs(finished - halves * (finished.max() / halves.max())).max() <= ROUNDING
    quieter = finish((halves / 4).astype(np.float32), 24_000)
    assert np.abs(finished - quieter).max() <= 0.001  # the meter rounds to hundredths of a decibel


@pytest.mark.parametrize("rate", RATES)
def test_silence_at_the_ends_goes_but_for_what_the_ear_wants(rate: int) -> None:
    sound = tone(1, rate)
    finished = finish(np.concatenate([silence(2, rate), sound, silence(0.3, rate), sound, silence(2, rate)]), rate)
    assert finished.size / rate == pytest.approx(BEFORE_S + 2.3 + AFTER_S, abs=0.021)  # windows of 10 ms
    heard = np.flatnonzero(np.abs(finished) > 0.01)
    assert heard[0] / rate == pytest.approx(BEFORE_S, abs=0.011)
    assert (finished.size - heard[-1]) / rate == pytest.approx(AFTER_S, abs=0.011)


def test_hiss_and_a_constant_offset_are_silence_too() -> None:
    """Neural vocoders leave both where nobody speaks."""
    padded = np.concatenate([silence(1), tone(1, level=0.3), silence(1)])
    hiss = np.random.default_rng(0).normal(0, 0.0005, padded.size)
    finished = finish((padded + hiss + 0.01).astype(np.float32), 24_000)
    assert finished.size / 24_000 == pytest.approx(1 + BEFORE_S + AFTER_S, abs=0.021)


def test_nothing_that_is_heard_is_cut() -> None:
    """A soft consonant at the end, 30 dB below the vowels, makes the difference between two words."""
    soft = np.random.default_rng(0).normal(0, 0.003, 2_400).astype(np.float32)
    finished = finish(np.concatenate([soft, tone(1), soft]), 24_000)
    assert finished.size == 24_000 + 2 * soft.size


@pytest.mark.parametrize("silent", [silence(0), silence(0.001), silence(0.1), silence(5), silence(1) + np.float32(0.2)])
def test_silence_stays_silence_and_gets_short(silent: Samples) -> None:
    finished = finish(silent, 24_000)
    np.testing.assert_array_equal(finished, silent[: round((BEFORE_S + AFTER_S) * 24_000)])


@pytest.mark.parametrize("seconds", [1 / 24_000, 0.001, 0.02, 0.1, 0.39, 0.41])
def test_what_is_shorter_than_the_meter_s_block_is_measured_too(seconds: float) -> None:
    """The standard measures 0.4 s at once; less would count as silence and be blown up."""
    finished = finish(tone(seconds), 24_000)
    assert finished.size == round(seconds * 24_000)
    assert np.isfinite(finished).all()
    assert np.abs(finished).max(initial=0) <= PEAK + ROUNDING
    if seconds >= 0.02:
        long = finish(tone(2), 24_000)
        assert finished.max() == pytest.approx(long.max(), rel=0.06)  # half a decibel


def test_what_is_hardly_there_is_not_blown_up() -> None:
    whisper = tone(1, level=0.001)
    np.testing.assert_allclose(finish(whisper, 24_000), whisper * MOST_GAIN, atol=ROUNDING)


def test_peaks_hold_the_gain_back() -> None:
    """A click in soft speech: the loudness cannot be had without clipping it."""
    clicked = tone(2, level=0.01)
    clicked[24_000] = 0.8
    finished = finish(clicked, 24_000)
    assert np.abs(finished).max() == pytest.approx(PEAK)
    assert loudness(finished, 24_000) < LOUDNESS_LUFS - 1


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 3e38])
def test_a_model_s_broken_numbers_do_not_spread(broken: float) -> None:
    samples = tone(1)
    samples[5_000] = broken
    finished = finish(samples, 24_000)
    assert np.isfinite(finished).all()
    assert np.abs(finished).max() <= PEAK + ROUNDING


def test_what_was_given_is_left_as_it_was() -> None:
    samples = np.concatenate([silence(1), tone(1)])
    before = samples.copy()
    finish(samples, 24_000)[:] = 0
    finish(silence(1), 24_000)[:] = 1
    np.testing.assert_array_equal(samples, before)


@pytest.mark.parametrize(
    ("samples", "rate"), [(tone(1).reshape(1, -1), 24_000), (tone(1), 7_999), (tone(1), 48_001)], ids=str
)
def test_other_shapes_and_rates_are_refused(samples: Samples, rate: int) -> None:
    with pytest.raises(ValueError, match="must"):
        finish(samples, rate)
