"""Speech to text by pocketsphinx: the model lies in its wheel, so that nothing has to be downloaded.

English only. It finds the speech, hands it to decoder processes in stretches, and puts their words on the note's clock.
"""

import json
import queue
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxqueue import machine
from voxqueue.errors import EngineFailed, EngineRefused, EngineUnusable, VoxqueueError
from voxqueue.extras import require
from voxqueue.settings import Settings
from voxqueue.stages import SAMPLE_RATE, Segment, SttRequest, SttResult, Task
from workers.engines.base import WholeSttEngine
from workers.engines.stt.babble import babble
from workers.engines.stt.speech_spans import Span, find_speech
from workers.engines.stt.sphinx_process import HEADER

_PROGRAM = Path(__file__).with_name("sphinx_process.py")
_MOST_PROCESSES = 4  # each holds about 100 MB

# Recordings arrive at any level, but the search's thresholds fit one: at a twentieth of it, 93 % of words were wrong.
_SPEECH_RMS = 0.1
# White noise of -47 dBFS. Digital silence (synthetic speech, noise gates) ruins the cepstral mean: on espeak-ng at 140
# words per minute 77 % of the words were wrong without the noise and 19 % with it.
_NOISE_RMS = 150.0

_VARIANT = re.compile(r"\(\d+\)$")  # "a(2)" is the second pronunciation of "a"
_FILLER = re.compile(r"<.*>|\[.*\]|\+\+.*\+\+")  # <sil>, [NOISE], ++UM++


class PocketsphinxEngine(WholeSttEngine):
    """A small recogniser from before neural networks, one decoder process per core."""

    name = "pocketsphinx"
    ignores = ("prompt", "hotwords", "word_timestamps")
    stand_in = (
        "pocketsphinx is a small recogniser from before neural networks: English only, and it gets more than "
        "a third of the words of real speech wrong."
    )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        # More would only wait inside the call instead of before it.
        self.max_batch = min(machine.cores(), _MOST_PROCESSES)
        self._threads: ThreadPoolExecutor | None = None
        self._idle: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()

    def load(self) -> None:
        require("pocketsphinx", "embedded")
        self.close()
        processes = self.max_batch or 1
        decoders = [_Decoder() for _ in range(processes)]
        try:
            for decoder in decoders:
                decoder.wait_until_loaded()
        except BaseException:
            for decoder in decoders:
                decoder.close()
            raise
        for decoder in decoders:
            self._idle.put(decoder)
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="pocketsphinx")
        self.model = "cmusphinx-en-us"

    def run(self, batch: Sequence[SttRequest]) -> Sequence[SttResult | VoxqueueError]:
        prepared = [_refusal(request) or self._submit(request) for request in batch]
        return [
            work if isinstance(work, VoxqueueError) else _collect(request, work)
            for request, work in zip(batch, prepared, strict=True)
        ]

    def warmup_request(self, longest: bool) -> SttRequest:
        # Noise would not reach the decoder, or cost it its own length.
        return SttRequest(audio=[babble(2.0 if longest else 0.5)], language="en")

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None
        while not self._idle.empty():
            self._idle.get().close()

    def _submit(self, request: SttRequest) -> "list[tuple[Span, Future[list[_Word]]]]":
        if self._threads is None:
            raise EngineFailed("pocketsphinx was called before it was loaded.")
        spans = find_speech(request.samples)
        stretches = _level([request.samples[span.start : span.stop] for span in spans])
        return [(span, self._threads.submit(self._decode, pcm)) for span, pcm in zip(spans, stretches, strict=True)]

    def _decode(self, pcm: bytes) -> "list[_Word]":
        decoder = self._idle.get()
        try:
            words = decoder.decode(pcm)
        except (OSError, ValueError) as error:  # its pipe broke, or its answer broke off
            decoder.close()
            decoder = _Decoder()
            raise EngineFailed("The pocketsphinx process ended during this note. A new one was started.") from error
        finally:
            self._idle.put(decoder)
        return words


_Word = tuple[str, float, float]  # as the dictionary spells it, start and end in seconds


class _Decoder:
    """One decoder process. It ends by itself when this process does, for its input ends then."""

    def __init__(self) -> None:
        # -P: the program's folder holds a pocketsphinx.py that is not the library. A session of its own: Ctrl-C in a
        # terminal is for the worker, which then waits for what is being decoded.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._loaded = False

    def wait_until_loaded(self) -> None:
        if not self._loaded and not self._output.readline():
            raise EngineUnusable("The pocketsphinx process ended while it was loading; the worker's log says why.")
        self._loaded = True

    def decode(self, pcm: bytes) -> list[_Word]:
        try:
            self.wait_until_loaded()
        except EngineUnusable as error:
            raise OSError(str(error)) from error
        self._input.write(HEADER.pack(len(pcm)) + pcm)
        self._input.flush()
        words: list[_Word] = json.loads(self._output.readline())
        return words

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _refusal(request: SttRequest) -> VoxqueueError | None:
    if request.task is Task.TRANSLATE:
        return EngineRefused(
            "pocketsphinx cannot translate. Send the note without `task`, for its transcript alone. An operator may "
            "name an engine that translates, such as faster_whisper, in VOXQUEUE_STT_ENGINES."
        )
    if request.language is None or request.language.lower().partition("-")[0] == "en":
        return None
    return EngineRefused(
        f"pocketsphinx understands English only, and this note is said to be in {request.language!r}. Send one in "
        "English. An operator may name an engine for other languages in VOXQUEUE_STT_ENGINES."
    )


def _level(stretches: list[npt.NDArray[np.float32]]) -> list[bytes]:
    """Bring the speech of one note to one level, add the noise floor, and make it 16 bit."""
    if not stretches:
        return []
    rms = float(np.sqrt(np.mean(np.concatenate(stretches).astype(np.float64) ** 2)))
    gain = 32_768 * _SPEECH_RMS / rms
    noise = np.random.default_rng(0)
    return [
        np.clip(stretch * gain + noise.normal(0, _NOISE_RMS, len(stretch)), -32_768, 32_767).astype("<i2").tobytes()
        for stretch in stretches
    ]


def _collect(request: SttRequest, work: "list[tuple[Span, Future[list[_Word]]]]") -> SttResult | VoxqueueError:
    """Wait for a note's stretches and put their words on the note's clock."""
    try:
        found = [_segment(span, future.result()) for span, future in work]
    except VoxqueueError as error:
        return error
    segments = tuple(segment for segment in found if segment is not None)
    return SttResult(
        text=" ".join(segment.text for segment in segments),
        language="en",
        audio_seconds=request.seconds,
        segments=segments,
    )


def _segment(span: Span, words: list[_Word]) -> Segment | None:
    spoken = [(_VARIANT.sub("", word), start, end) for word, start, end in words if not _FILLER.fullmatch(word)]
    if not spoken:
        return None
    offset, end = span.start / SAMPLE_RATE, span.stop / SAMPLE_RATE
    return Segment(
        start=round(offset + spoken[0][1], 2),
        end=round(min(offset + spoken[-1][2], end), 2),
        text=" ".join(word for word, _, _ in spoken),
    )
