"""Cutting notes into windows: where there is speech, on the note's clock, and the same whether it streams or not."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.models.sentences import ENGLISH, speak
from tests.recordings import silence, tone
from voxqueue.stages import SAMPLE_RATE, Samples
from workers.engines.stt.babble import babble
from workers.engines.stt.windows import LONGEST_S, Clock, Window, Windows, find_speech

pytestmark = pytest.mark.unit


def note(*parts: Samples) -> Samples:
    return np.concatenate(parts)


def in_blocks(samples: Samples, seconds: float) -> list[Samples]:
    size = round(seconds * SAMPLE_RATE)
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def check(windows: list[Window], whole: Samples) -> None:
    """Every window holds exactly the samples that its clock names, in order and apart."""
    last = 0
    for window in windows:
        assert 0 < window.clock.seconds <= LONGEST_S
        joined = np.concatenate([whole[start:stop] for start, stop in window.clock.spans])
        assert np.array_equal(joined, window.samples)
        for start, stop in window.clock.spans:
            assert last <= start < stop <= len(whole)
            last = stop


@pytest.mark.parametrize("sound", [silence(5), tone(5), np.zeros(0, np.float32), np.ones(1, np.float32)])
def test_what_is_no_speech_makes_no_window(sound: Samples) -> None:
    windows = Windows([sound])
    assert list(windows) == []
    assert windows.seconds == pytest.approx(len(sound) / SAMPLE_RATE)
    assert windows.speech_seconds == 0


@pytest.mark.parametrize("seconds", [0.5, 1.0, LONGEST_S - 1])
def test_babble_passes_for_speech_as_one_window(seconds: float) -> None:
    [window] = Windows([babble(seconds)])
    assert window.clock.seconds == pytest.approx(seconds, rel=0.2)


def test_speech_far_apart_shares_a_window_and_keeps_its_place() -> None:
    first, second = speak(ENGLISH[0]), speak(ENGLISH[1])
    whole = note(silence(3), first, silence(20), second, silence(2))
    windows = Windows([whole])
    [window] = found = list(windows)
    check(found, whole)
    assert windows.speech_seconds == pytest.approx((len(first) + len(second)) / SAMPLE_RATE, abs=2)
    begins_again = 23 + len(first) / SAMPLE_RATE
    assert window.clock.note_time(0) == pytest.approx(3, abs=0.6)
    assert window.clock.note_time(window.clock.seconds, is_end=True) == pytest.approx(window.clock.end)
    inside_second = window.clock.spans[0][1] - window.clock.spans[0][0] + SAMPLE_RATE // 10
    assert window.clock.note_time(inside_second / SAMPLE_RATE) == pytest.approx(begins_again, abs=0.6)


def test_streamed_in_blocks_nothing_is_lost_or_heard_twice() -> None:
    sentences = [speak(sentence) for sentence in ENGLISH[:12]]
    pauses = [silence(0.4 + 0.7 * (number % 5)) for number in range(12)]
    whole = note(*(part for pair in zip(sentences, pauses, strict=True) for part in pair))
    at_once = list(Windows([whole]))
    check(at_once, whole)
    for block_s in (7.0, 11.3, 60.0):
        streaming = Windows(in_blocks(whole, block_s))
        windows = list(streaming)
        check(windows, whole)
        assert streaming.seconds == pytest.approx(len(whole) / SAMPLE_RATE)
        assert streaming.speech_seconds == pytest.approx(sum(one.clock.seconds for one in at_once), rel=0.05)


def test_speech_without_a_pause_is_cut_to_what_a_model_hears() -> None:
    whole = babble(100)
    windows = list(Windows(in_blocks(whole, 40)))
    check(windows, whole)
    assert len(windows) >= 4
    assert sum(one.clock.seconds for one in windows) == pytest.approx(100, rel=0.05)


def test_the_rest_of_a_long_note_is_not_kept() -> None:
    """A note of an hour must not be in memory: a block is asked for only when what came before has been cut."""
    asked: list[int] = []

    def blocks() -> Iterator[Samples]:
        for number in range(100):
            asked.append(number)
            yield babble(20)

    windows = iter(Windows(blocks()))
    next(windows)
    assert len(asked) <= 4


def test_joints_belong_to_the_stretch_that_ends_or_begins_there() -> None:
    clock = Clock(((16_000, 32_000), (80_000, 96_000)))
    assert clock.seconds == 2
    assert clock.note_time(0) == 1
    assert clock.note_time(1, is_end=True) == 2
    assert clock.note_time(1) == 5
    assert clock.note_time(2, is_end=True) == clock.note_time(9) == clock.end == 6


def test_find_speech_is_within_the_sound() -> None:
    samples = babble(3)
    for start, stop in find_speech(samples):
        assert 0 <= start < stop <= len(samples)
