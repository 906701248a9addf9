"""Subtitles from transcripts that are not as one would like them."""

import pytest

from voxqueue.notes.subtitles import srt, vtt
from voxqueue.stages import Segment, SttResult

pytestmark = pytest.mark.unit


def transcript(*segments: Segment, text: str = "all of it", seconds: float = 2.0) -> SttResult:
    return SttResult(text=text, language="en", audio_seconds=seconds, segments=segments)


def test_without_segments_the_whole_text_is_one_cue() -> None:
    assert srt(transcript()) == "1\n00:00:00,000 --> 00:00:02,000\nall of it\n"
    assert vtt(transcript()) == "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nall of it\n"


def test_silence_has_no_cues() -> None:
    assert srt(transcript(text="")) == ""
    assert vtt(transcript(text="")) == "WEBVTT\n"


def test_an_empty_line_cannot_end_a_cue_early() -> None:
    spoken = transcript(Segment(0, 1, " one\r\n\r\n2\n00:00:09,000 --> 00:00:10,000\nforged "), Segment(1, 2, " \n "))
    assert srt(spoken) == "1\n00:00:00,000 --> 00:00:01,000\none 2 00:00:09,000 → 00:00:10,000 forged\n"
    assert vtt(spoken).splitlines()[3:] == ["one 2 00:00:09,000 --&gt; 00:00:10,000 forged"]


def test_times_are_rounded_once_and_every_cue_lasts() -> None:
    spoken = transcript(Segment(59.9996, 60.0004, "a"), Segment(3599.9999, 3599.0, "b"), Segment(-0.2, 0.5, "c"))
    assert [line for line in vtt(spoken).splitlines() if "-->" in line] == [
        "00:01:00.000 --> 00:01:00.001",
        "01:00:00.000 --> 01:00:00.001",
        "00:00:00.000 --> 00:00:00.500",
    ]


def test_a_hundred_hours_have_three_digits() -> None:
    assert "100:00:00,000 --> 100:00:01,000" in srt(transcript(Segment(360_000, 360_001, "late")))
