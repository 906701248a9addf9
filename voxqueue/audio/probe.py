"""Says what a recording is and how long it lasts, or why it cannot be used, without decoding it.

The errors' details are written for whoever sent the recording.
"""

from dataclasses import dataclass
from typing import BinaryIO

from av.audio.stream import AudioStream
from av.container import InputContainer

from voxqueue.audio.formats import FLAC, MP4, SNIFF_BYTES, Container, sniff
from voxqueue.audio.opening import TimedReader, audio_stream, cut, opened
from voxqueue.audio.outline import check_outline
from voxqueue.errors import AudioCorrupt, AudioTooLong, AudioTooShort, EmptyAudio

PROBE_BUDGET_S = 5.0
"""Wall time after which a file counts as one that nobody made in good faith; an honest one takes milliseconds."""

FLAC_TOLERANCE_S = 0.25
"""How much sooner than its header says a FLAC file may end."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a recording is.

    Attributes:
        container: ogg, webm, matroska, mp4, 3gp, mov, mp3, aac, wav, flac, amr, amr-wb, aiff or caf.
        codec: As FFmpeg names it.
        sample_rate: In samples per second.
        channels: How many.
        seconds: How long it lasts.
        media_type: What to serve the stored file as.
        extension: The usual end of its name, without the dot.
    """

    container: str
    codec: str
    sample_rate: int
    channels: int
    seconds: float
    media_type: str
    extension: str


def probe(source: BinaryIO, *, max_seconds: float, min_seconds: float) -> Probe:
    """Look into a seekable file from its beginning, and leave it there again.

    Raises:
        EmptyAudio: It has no bytes.
        NotAudio: It is no kind of file that we read.
        NoAudioStream: It holds no sound.
        AudioTooLong: It lasts longer than ``max_seconds``.
        AudioTooShort: It lasts less than ``min_seconds``, or no time at all.
        AudioTruncated: Its end is missing.
        AudioCorrupt: It cannot be read, or not within `PROBE_BUDGET_S`.
    """
    late = AudioCorrupt("The recording is built so oddly that it could not be examined. Export it anew, or as WAV.")
    reader = TimedReader(source, PROBE_BUDGET_S, late)
    try:
        if not reader.size:
            raise EmptyAudio("The file is empty. Perhaps the recorder was stopped before it began; record it again.")
        container = sniff(reader.read(SNIFF_BYTES))
        believable = check_outline(reader, container)
        with opened(reader, container) as file:
            found = _describe(reader, file, container, believable, max_seconds)
    finally:
        source.seek(0)
    if found.seconds > max_seconds:
        raise AudioTooLong(
            f"The recording lasts longer than the {_clock(max_seconds)} that are allowed. "
            "Send a shorter one, or split it."
        )
    if found.seconds <= 0 or found.seconds < min_seconds:
        raise AudioTooShort(
            f"The recording lasts {found.seconds:.2f} s; at least {min_seconds:g} s are needed. Record a longer one."
        )
    return found


def _describe(
    reader: TimedReader, file: InputContainer, container: Container, believable: bool, max_seconds: float
) -> Probe:
    stream = audio_stream(file, container)
    claimed = _claimed(file, stream)
    seconds = claimed if believable and claimed else _walk(reader, file, stream, max_seconds)
    if container == FLAC and claimed and seconds <= max_seconds and seconds < claimed - FLAC_TOLERANCE_S:
        cut()
    moving = any(not video.disposition & video.disposition.attached_pic for video in file.streams.video)
    return Probe(
        container=container.name,
        codec=stream.codec_context.codec.canonical_name,
        sample_rate=stream.codec_context.sample_rate,
        channels=stream.codec_context.channels,
        seconds=seconds,
        media_type=container.media_type.replace("audio/", "video/") if moving else container.media_type,
        extension="mp4" if moving and container == MP4 else container.extension,
    )


def _claimed(file: InputContainer, stream: AudioStream) -> float:
    """How long the header says the recording is, in seconds; 0 where it says nothing."""
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    return max(0.0, (file.duration or 0) / 1_000_000)


def _walk(reader: TimedReader, file: InputContainer, stream: AudioStream, max_seconds: float) -> float:
    """How long the packets last, in seconds, without decoding them. Stops once that is more than is allowed."""
    first: int | None = None
    total = span = 0
    tick = float(stream.time_base or 1)
    for packet in file.demux(stream):
        if not packet.size:
            continue
        reader.check()
        total += packet.duration or 0
        if packet.pts is not None:
            first = packet.pts if first is None else first
            span = max(span, packet.pts + (packet.duration or 0) - first)
        if max(total, span) * tick > max_seconds:
            break
    return max(total, span) * tick


def _clock(seconds: float) -> str:
    """A duration as people read it: ``1:02:03 h``, ``2:03 min`` or ``4.5 s``."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d} h"
