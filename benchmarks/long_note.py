"""Whether a long note takes more memory than a short one: the worker's peak for an hour, against a quarter of an hour.

Whisper of tiny's dimensions on one worker, which gets both in turns over HTTP. Samples of an hour would take 230 MB.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.memory import rss_mib
from benchmarks.models import make_whisper
from benchmarks.notes import spoken_notes
from benchmarks.report import spread
from voxqueue.audio import AudioFormat, encode
from voxqueue.client import Client
from voxqueue.embedded import running_stack
from voxqueue.stages import SAMPLE_RATE

RUNS = 5
_LENGTHS_S = {"quarter": 900, "hour": 3600}
_MOST_GROWTH = 1.25
_PERIOD_S = 0.1


def measure() -> dict[str, Any]:
    recordings = {name: _recording(seconds) for name, seconds in _LENGTHS_S.items()}
    peaks: dict[str, list[float]] = {name: [] for name in recordings}
    with TemporaryDirectory(prefix="voxqueue-bench-") as folder:
        env = {
            "VOXQUEUE_STT_ENGINES": "faster_whisper",
            "VOXQUEUE_WHISPER_MODEL": str(make_whisper(Path(folder))),
            "VOXQUEUE_LLM_ENGINES": "echo",
            "VOXQUEUE_TTS_ENGINES": "fake",
            "VOXQUEUE_LIMITS_NOTE_SECONDS": str(max(_LENGTHS_S.values()) + 10),
        }
        with running_stack(Path(folder) / "stack", env=env, ready_s=600) as stack, Client(stack.api_url) as client:
            worker = stack.process("worker-1")
            _transcribe(client, recordings["quarter"])  # the runtimes take what they need for full batches
            for _ in range(RUNS):
                for name, recording in recordings.items():
                    with _peak_of(worker) as seen:
                        _transcribe(client, recording)
                    peaks[name].append(max(seen))
    growth = spread([hour / quarter for hour, quarter in zip(peaks["hour"], peaks["quarter"], strict=True)])
    return {
        "what": "peak RSS of a worker that transcribes an hour, divided by that for a quarter of an hour",
        "aim": f"<= {_MOST_GROWTH}",
        "growth": growth,
        "peak_rss_mib": {name: spread(values, 1) for name, values in peaks.items()},
        "reached": growth["median"] <= _MOST_GROWTH,
    }


def _recording(seconds: int) -> bytes:
    [note] = spoken_notes(1, seconds, seconds)
    return encode(note, SAMPLE_RATE, AudioFormat.OGG)


def _transcribe(client: Client, recording: bytes) -> None:
    client.wait(client.send_note(recording, kind="transcription"), timeout=1_200).raise_for_state()


@contextmanager
def _peak_of(pid: int) -> Iterator[list[float]]:
    """What the process had in memory, again and again while the block runs."""
    seen: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_PERIOD_S):
            seen.append(rss_mib(pid))

    watcher = threading.Thread(target=watch, name="rss")
    watcher.start()
    try:
        yield seen
    finally:
        stop.set()
        watcher.join()
