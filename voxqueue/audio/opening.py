"""The only door to FFmpeg for what was uploaded: one demuxer, no other file or address, a limit on time.

Whatever PyAV raises on the other side of this door leaves it as one of our errors.
"""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, NoReturn, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from voxqueue.audio.formats import AIFF, CAF, WAV, Container
from voxqueue.errors import AudioCorrupt, AudioTruncated, NoAudioStream, NotAudio, VoxqueueError

_COINCIDENCE = "The file is not a recording, though its first bytes look like one. Send the recording itself."
_UNREADABLE = "The recording is damaged and cannot be read. Record it again, or export it anew from where it was made."

MAX_CHANNELS = 7
"""With more, the process would crash: PyAV walks over a frame's planes up to a null pointer, and there are eight."""

# What PyAV raises on hostile files beside its own errors: decoding of names, impossible numbers, full memory. A plain
# OSError is missing on purpose: that is our own disk failing under the reader, and no fault of the file's.
_PYAV_RAISES = (FFmpegError, ValueError, ArithmeticError, LookupError, MemoryError, RuntimeError, EOFError)


class TimedReader:
    """A seekable file that raises an error of ours once its time is up, and is at its end from then on.

    FFmpeg cannot be interrupted, but it can do nothing for long without reading. It also sees no ``name`` here, which
    it would take as a hint, and no ``close``.
    """

    def __init__(self, source: BinaryIO, seconds: float, late: VoxqueueError) -> None:
        self._source = source
        self._deadline = time.monotonic() + seconds
        self._late = late
        self._raised = False
        self._sequential = False
        self.size = source.seek(0, io.SEEK_END)
        source.seek(0)

    def check(self) -> None:
        """Raise if the time is up."""
        if time.monotonic() > self._deadline:
            self._raised = True
            raise self._late

    def pause(self) -> Callable[[], None]:
        """Stop the clock; what is returned lets it go on."""
        paused = time.monotonic()

        def go_on() -> None:
            self._deadline += time.monotonic() - paused

        return go_on

    def read(self, size: int = -1) -> bytes:
        if self._raised:  # PyAV prints a second exception to stderr instead of raising it
            return b""
        self.check()
        return self._source.read(size)

    def read_at(self, position: int, size: int) -> bytes:
        """Up to ``size`` bytes from a position; fewer at the file's end."""
        self._source.seek(position)
        return self.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def forbid_seeking(self) -> None:
        """Let FFmpeg read from here on to the end only."""
        self._sequential = True

    def seekable(self) -> bool:
        return not self._sequential


@contextmanager
def guarded() -> Iterator[None]:
    """Turn whatever PyAV raises inside into `AudioCorrupt`."""
    try:
        yield
    except VoxqueueError:
        raise
    except _PYAV_RAISES as error:
        raise AudioCorrupt(_UNREADABLE) from error


@contextmanager
def opened(reader: TimedReader, container: Container) -> Iterator[InputContainer]:
    """Open a recording for demuxing and decoding, and close it afterwards.

    Raises:
        NotAudio: FFmpeg does not recognise it, and its first bytes may have been a coincidence.
        AudioTruncated: It ends within its header.
        AudioCorrupt: FFmpeg cannot read it.
    """
    options = {"format_whitelist": container.demuxers, "protocol_whitelist": "none"}
    if container in (WAV, AIFF, CAF):
        options["probesize"] = "2048"  # their headers say it all; FFmpeg would decode seconds of PCM to make sure
    with guarded():
        reader.seek(0)
        if container == WAV:
            reader.forbid_seeking()  # else it reads tags behind the sound, and reserves whatever size those claim
        try:
            file = av.open(reader, mode="r", metadata_errors="ignore", options=options)
        except FFmpegError as error:
            if container.weak:
                raise NotAudio(_COINCIDENCE) from error
            if isinstance(error, av.error.EOFError):
                cut()
            raise
        with file:
            yield file


def cut() -> NoReturn:
    raise AudioTruncated(
        "The recording breaks off: the end of the file is missing. Perhaps the upload was interrupted; send it again."
    )


def audio_stream(file: InputContainer, container: Container) -> AudioStream:
    """The first stream of sound, with a rate and a number of channels that make sense.

    Raises:
        NoAudioStream: There is none.
        AudioCorrupt, NotAudio: What FFmpeg found out about it makes no sense.
    """
    if not file.streams.audio:
        if file.streams.video:
            raise NoAudioStream("The file is a video without sound. Send a recording that holds sound.")
        raise NoAudioStream("The file holds no sound. Send a recording that does.")
    stream = file.streams.audio[0]
    codec = cast("av.AudioCodecContext | None", stream.codec_context)  # PyAV has none where FFmpeg has no decoder
    if codec is not None and codec.channels > MAX_CHANNELS:
        raise AudioCorrupt(
            f"The recording has {codec.channels} channels; at most {MAX_CHANNELS} can be read. Mix it down."
        )
    if codec is None or not 4_000 <= codec.sample_rate <= 384_000 or codec.channels < 1:
        raise NotAudio(_COINCIDENCE) if container.weak else AudioCorrupt(_UNREADABLE)
    codec.thread_count = 1  # notes run side by side already; starting threads costs more than a short note
    return stream
