"""What a note costs the processor before a model sees it: decoding, finding speech, spectra. One thread, one core.

Ogg/Opus notes of one minute of speech, as a phone sends them. `times_real_time` says how many seconds of audio one core
prepares in a second: divide it by the speed of an accelerator, in the same unit, for how many of them it feeds.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.models import make_whisper
from benchmarks.notes import spoken_notes
from benchmarks.report import spread
from voxqueue.audio import AudioFormat, decode, encode
from voxqueue.settings import Settings, WhisperSettings
from voxqueue.stages import SAMPLE_RATE, Samples
from workers.engines.stt.faster_whisper import FasterWhisperEngine
from workers.engines.stt.whisper_decoder import Array
from workers.engines.stt.windows import Window, Windows

RUNS, NOTES, SECONDS = 5, 5, 60.0


def measure() -> dict[str, Any]:
    recordings = [encode(note, SAMPLE_RATE, AudioFormat.OGG) for note in spoken_notes(NOTES, SECONDS, SECONDS)]
    with TemporaryDirectory(prefix="voxqueue-bench-") as folder:
        model = str(make_whisper(Path(folder)))
        engine = FasterWhisperEngine(Settings(whisper=WhisperSettings(model=model)))
        engine.load()
        steps: dict[str, list[float]] = {"decoding_ms": [], "finding_speech_ms": [], "spectra_ms": []}
        for _ in range(RUNS):
            decoding, notes = _cpu_ms(lambda: [decode(recording, max_seconds=900) for recording in recordings])
            finding, windows = _cpu_ms(partial(_cut, notes))
            spectra, _ = _cpu_ms(partial(_spectra, engine, windows))
            for name, spent in zip(steps, (decoding, finding, spectra), strict=True):
                steps[name].append(spent / NOTES / (SECONDS / 60))
        engine.close()
    sums = [sum(values) for values in zip(*steps.values(), strict=True)]
    return {
        "what": f"milliseconds of processor time for each minute of audio, {NOTES} notes of {SECONDS:g} s",
        "aim": "measured, no aim",
        **{name: spread(values, 1) for name, values in steps.items()},
        "all_ms": spread(sums, 1),
        "times_real_time": spread([60_000 / spent for spent in sums], 0),
        "reached": True,
    }


def _cut(notes: Sequence[Samples]) -> list[Window]:
    return [window for note in notes for window in Windows([note])]


def _spectra(engine: FasterWhisperEngine, windows: list[Window]) -> list[Array]:
    return [engine.features(window) for window in windows]


def _cpu_ms(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.thread_time()
    result = work()
    return (time.thread_time() - began) * 1000, result
