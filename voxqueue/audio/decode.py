"""Makes samples from a recording: mono and, unless asked for otherwise, 16 kHz, as speech to text wants them.

It keeps what can be kept of a damaged recording. It must not know what the samples are for.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from voxqueue.audio.formats import SNIFF_BYTES, sniff
from voxqueue.audio.opening import MAX_CHANNELS, TimedReader, audio_stream, opened
from voxqueue.audio.outline import check_outline
from voxqueue.errors import AudioCorrupt, AudioTooLong, DeadlineExceeded, EmptyAudio
from voxqueue.stages import SAMPLE_RATE, Samples

MAX_DAMAGED = 1_000
"""How many damaged packets are skipped before a recording is given up."""

BLOCK_S = 60.0
"""How much sound a block holds, at least."""

SLACK_S = 1.0
"""How much longer than allowed a recording may turn out to be: headers are rounded, and codecs pad."""

_OFFSET_AND_SCALE = {"u8": (128, 128.0), "s16": (0, 32_768.0), "s32": (0, 2_147_483_648.0)}


@dataclass(frozen=True, slots=True)
class Decoding:
    """A recording as blocks of samples, decoded anew each time it is iterated, so that nothing long is kept.

    Blocks are mono float32 in [-1, 1] at `sample_rate`, shape ``[n]``, of about `BLOCK_S`. Channels are averaged.
    Damaged packets are left out, and the rest moves up. Any number of threads may decode at once. `budget_s` is the
    time that decoding may take, not counting what happens between blocks.

    Iterating raises:
        EmptyAudio: There are no bytes.
        NotAudio: It is no kind of file that we read.
        NoAudioStream: It holds no sound.
        AudioTruncated: Its end is missing.
        AudioCorrupt: Nothing in it can be decoded.
        AudioTooLong: It holds more than ``max_seconds``.
        DeadlineExceeded: It took longer than ``budget_s``.
    """

    data: bytes = field(repr=False)
    max_seconds: float
    budget_s: float = 60
    sample_rate: int = SAMPLE_RATE

    def __iter__(self) -> Iterator[Samples]:
        if not self.data:
            raise EmptyAudio("The recording is empty.")
        late = DeadlineExceeded(f"Decoding the recording took longer than {self.budget_s:g} s.")
        reader = TimedReader(io.BytesIO(self.data), self.budget_s, late)
        container = sniff(self.data[:SNIFF_BYTES])
        check_outline(reader, container)  # also keeps FFmpeg from reserving the gigabytes that a broken length asks for
        found = False
        with opened(reader, container) as file:
            waveform = _Waveform(self.sample_rate)
            for frame in _frames(reader, file, audio_stream(file, container)):
                waveform.add(frame)
                if waveform.seconds > self.max_seconds + SLACK_S:
                    raise AudioTooLong(
                        f"The recording lasts longer than {self.max_seconds:g} s, which is the most we take."
                    )
                if waveform.gathered >= BLOCK_S * self.sample_rate:
                    found = True
                    go_on = reader.pause()
                    yield waveform.take()
                    go_on()
            rest = waveform.finish()
        if rest.size:
            yield rest
        elif not found:
            raise AudioCorrupt("Nothing in the recording can be decoded. Record it again, or export it anew.")


def decode(data: bytes, *, max_seconds: float, budget_s: float = 60, sample_rate: int = SAMPLE_RATE) -> Samples:
    """Decode a whole recording, shape ``[n]``; see `Decoding` for what it is and what it raises."""
    blocks = list(Decoding(data, max_seconds, budget_s, sample_rate))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _frames(reader: TimedReader, file: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame]:
    """Every frame that can be decoded. FFmpeg goes on after a damaged packet if it is asked for the next one."""
    damaged = 0
    while damaged <= MAX_DAMAGED:
        try:
            for packet in file.demux(stream):
                reader.check()
                try:
                    frames = packet.decode()
                except FFmpegError:
                    damaged += 1
                    if damaged > MAX_DAMAGED:
                        return
                    continue
                yield from frames
        except FFmpegError:  # the demuxer tripped over the damage
            damaged += 1
        else:
            return


class _Waveform:
    """Gathers frames of any shape into one waveform.

    Codecs give 20 ms at a time. Mixing and resampling a second at once is several times quicker.
    """

    def __init__(self, sample_rate: int) -> None:
        self.seconds = 0.0
        self.gathered = 0  # samples that can be taken
        self._parts: list[Samples] = []
        self._shape: tuple[str, int, int] | None = None
        self._sample_rate = sample_rate
        self._fifo = av.AudioFifo()
        self._resampler = av.AudioResampler("flt", "mono", sample_rate)

    def add(self, frame: av.AudioFrame) -> None:
        if not frame.samples or not frame.sample_rate or frame.layout.nb_channels > MAX_CHANNELS:
            return  # what a decoder makes of a damaged packet
        shape = (frame.format.name, frame.layout.nb_channels, frame.sample_rate)
        if shape != self._shape:  # the first frame, or a recording that was joined from different ones
            self._drain()
            self._shape = shape
        frame.pts = None
        self.seconds += frame.samples / frame.sample_rate
        self._fifo.write(frame)
        if self._fifo.samples >= frame.sample_rate:
            self._mix_down()

    def take(self) -> Samples:
        """What has been gathered since the last time."""
        if not self._parts:
            return np.zeros(0, np.float32)
        samples = np.concatenate(self._parts)
        self._parts, self.gathered = [], 0
        np.nan_to_num(samples, copy=False, posinf=1.0, neginf=-1.0)
        return np.clip(samples, -1.0, 1.0, out=samples)

    def finish(self) -> Samples:
        """The rest of it. Nothing can be added afterwards."""
        self._drain()
        return self.take()

    def _gather(self, part: Samples) -> None:
        self._parts.append(part)
        self.gathered += len(part)

    def _mix_down(self) -> None:
        """Mix and resample what the queue holds."""
        chunk = self._fifo.read()
        if chunk is None:
            return
        mono = _mix(chunk)
        if chunk.sample_rate == self._sample_rate:
            self._gather(mono)
            return
        frame = av.AudioFrame.from_ndarray(mono[None], format="flt", layout="mono")
        frame.sample_rate = chunk.sample_rate
        for part in self._resampler.resample(frame):
            self._gather(part.to_ndarray()[0])

    def _drain(self) -> None:
        """Mix and resample the rest, and begin afresh."""
        if self._shape is None:
            return
        self._mix_down()
        for part in self._resampler.resample(None):
            self._gather(part.to_ndarray()[0])
        self._fifo = av.AudioFifo()
        self._resampler = av.AudioResampler("flt", "mono", self._sample_rate)


def _mix(frame: av.AudioFrame) -> Samples:
    """The average of the channels, as float32 in [-1, 1]; FFmpeg's own mix makes two equal channels louder than one."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    mono = values[0].astype(np.float32) if len(values) == 1 else values.mean(axis=0, dtype=np.float32)
    offset, scale = _OFFSET_AND_SCALE.get(frame.format.packed.name, (0, 1.0))
    if scale != 1.0:
        mono = (mono - np.float32(offset)) / np.float32(scale)
    return np.ascontiguousarray(mono)
