"""Speech to text across notes: our batches against faster-whisper's own calls, note by note.

64 spoken notes of 3 to 20 s, a Whisper of tiny's dimensions that says 22 tokens for each, int8 on the CPU or float16 on
a GPU, five beams for everyone. Everything from samples to text is in, voice detection and spectra too. In each run all
contenders take the same notes one after the other, so that a busy machine is busy for all of them.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.models import make_whisper
from benchmarks.notes import spoken_notes
from benchmarks.report import device_name, spread
from voxqueue.settings import Settings, SttSettings, WhisperSettings
from voxqueue.stages import Samples, SttRequest
from workers.engines.stt.faster_whisper import FasterWhisperEngine
from workers.serving import Served

RUNS, NOTES, SHORTEST_S, LONGEST_S = 5, 64, 3.0, 20.0
MAX_BATCH = 16
_AIMS = {"across_notes_defaults": 2.2, "across_notes": 1.4, "across_notes_short_windows": 2.0}


def measure() -> dict[str, Any]:
    notes = spoken_notes(NOTES, SHORTEST_S, LONGEST_S)
    with TemporaryDirectory(prefix="voxqueue-bench-") as folder:
        contenders = _contenders(make_whisper(Path(folder)))
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for hear in contenders.values():
            hear(notes[:4])
        for _ in range(RUNS):
            for name, hear in contenders.items():
                began = time.perf_counter()
                hear(notes)
                seconds[name].append(time.perf_counter() - began)
    ratios = {
        "across_notes_defaults": _ratios(seconds, "whisper_defaults", "ours_detecting"),
        "across_notes": _ratios(seconds, "whisper_tuned", "ours"),
        "across_notes_short_windows": _ratios(seconds, "whisper_tuned", "ours_short_windows"),
        "across_notes_pipeline": _ratios(seconds, "pipeline", "ours"),
    }
    return {
        "what": f"{NOTES} notes of {SHORTEST_S:g} to {LONGEST_S:g} s, batches of at most {MAX_BATCH} windows",
        "aim": ", ".join(f"{name} >= {aim}" for name, aim in _AIMS.items()),
        "device": device_name(),
        **{name: spread(values, 2) for name, values in ratios.items()},
        "seconds": {name: spread(values, 2) for name, values in seconds.items()},
        "reached": all(spread(ratios[name])["median"] >= aim for name, aim in _AIMS.items()),
    }


def _ratios(seconds: dict[str, list[float]], theirs: str, ours: str) -> list[float]:
    return [their / our for their, our in zip(seconds[theirs], seconds[ours], strict=True)]


def _contenders(model: Path) -> dict[str, Callable[[Sequence[Samples]], None]]:
    from faster_whisper import BatchedInferencePipeline

    whole, short = (_engine(model, short_windows=short) for short in (False, True))
    whisper = _plain_whisper(model, whole)
    pipeline = BatchedInferencePipeline(whisper)

    def one_by_one(transcribe: Callable[..., Any], **options: Any) -> Callable[[Sequence[Samples]], None]:
        def hear(notes: Sequence[Samples]) -> None:
            for note in notes:
                segments, _ = transcribe(note, **options)
                assert "".join(segment.text for segment in segments)

        return hear

    return {
        "whisper_defaults": one_by_one(whisper.transcribe),
        "ours_detecting": _ours(whole, None),
        "whisper_tuned": one_by_one(whisper.transcribe, language="en", vad_filter=True),
        "ours": _ours(whole, "en"),
        "pipeline": one_by_one(pipeline.transcribe, language="en", batch_size=MAX_BATCH),
        "ours_short_windows": _ours(short, "en"),
    }


def _engine(model: Path, *, short_windows: bool) -> FasterWhisperEngine:
    engine = FasterWhisperEngine(Settings(whisper=WhisperSettings(model=str(model), short_windows=short_windows)))
    engine.load()
    return engine


def _plain_whisper(model: Path, like: FasterWhisperEngine) -> Any:
    """faster-whisper as its users have it: all cores for one call."""
    from faster_whisper import WhisperModel

    cores = os.cpu_count() or 1
    return WhisperModel(str(model), device=like.device.partition(":")[0], compute_type=like.dtype, cpu_threads=cores)


def _ours(engine: FasterWhisperEngine, language: str | None) -> Callable[[Sequence[Samples]], None]:
    """As many threads as a worker has; each brings a note and waits for it."""
    served = Served(engine, SttSettings(max_batch=MAX_BATCH))

    def hear(notes: Sequence[Samples]) -> None:
        with ThreadPoolExecutor(2 * MAX_BATCH) as threads:
            requests = [SttRequest(audio=[note], language=language) for note in notes]
            for answered in threads.map(served.ask, requests):
                assert answered.result.text

    return hear
