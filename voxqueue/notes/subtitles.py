"""A transcript as subtitles: SubRip (.srt) and WebVTT (.vtt). Pure."""

from collections.abc import Iterator

from voxqueue.stages import Segment, SttResult

_SHORTEST_MS = 1  # a cue must end after it begins


def srt(transcript: SttResult) -> str:
    """SubRip. It has no way to escape anything, so an arrow in the text becomes a typographic one."""
    cues = (
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text.replace('-->', '→')}\n"
        for number, (start, end, text) in enumerate(_cues(transcript), start=1)
    )
    return "\n".join(cues)


def vtt(transcript: SttResult) -> str:
    """WebVTT, as https://www.w3.org/TR/webvtt1 has it."""
    cues = (
        f"\n{_clock(start, '.')} --> {_clock(end, '.')}\n{_escape(text)}\n" for start, end, text in _cues(transcript)
    )
    return "WEBVTT\n" + "".join(cues)


def _cues(transcript: SttResult) -> Iterator[tuple[int, int, str]]:
    """Start and end in milliseconds, and a text in one line: an empty line would end the cue."""
    whole = Segment(0, transcript.audio_seconds, transcript.text)  # for engines that do not say when what was spoken
    for segment in transcript.segments or (whole,):
        text = " ".join(segment.text.split())
        if text:
            start = max(0, round(segment.start * 1000))
            yield start, max(start + _SHORTEST_MS, round(segment.end * 1000)), text


def _clock(milliseconds: int, point: str) -> str:
    seconds, fraction = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{fraction:03}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
