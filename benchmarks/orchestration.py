"""What the system around the engines costs: notes a second over HTTP, against the engines alone.

48 voice notes of 3 to 20 s in Ogg/Opus: a Whisper of tiny's dimensions, `echo`, a PocketTTS of real dimensions. Through
the system, that is uploads over HTTP until all have succeeded, with one worker, Postgres, Redis, API and client on the
same machine. Alone, that is the same samples and replies given to the same engines in one process, stage after stage in
the largest batches, without decoding, encoding or storing anything. Both take turns.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.models import make_pocket, make_whisper
from benchmarks.notes import spoken_notes
from benchmarks.report import device_name, spread
from voxqueue.audio import AudioFormat, encode
from voxqueue.client import Client
from voxqueue.embedded import running_stack
from voxqueue.settings import PocketSettings, Settings, WhisperSettings
from voxqueue.stages import SAMPLE_RATE, LlmRequest, Samples, Stage, SttRequest, TtsRequest
from workers.engines.registry import create_engine
from workers.serving import Served

RUNS, NOTES = 5, 48
_ENGINES = {Stage.STT: "faster_whisper", Stage.LLM: "echo", Stage.TTS: "pocket_tts"}


def measure() -> dict[str, Any]:
    notes = spoken_notes(NOTES, 3, 20)
    recordings = [encode(note, SAMPLE_RATE, AudioFormat.OGG) for note in notes]
    with TemporaryDirectory(prefix="voxqueue-bench-") as folder:
        whisper = make_whisper(Path(folder))
        model, codec = make_pocket(Path(folder))
        served = _load(whisper, model, codec)
        env = {f"VOXQUEUE_{stage.upper()}_ENGINES": name for stage, name in _ENGINES.items()}
        env |= {"VOXQUEUE_WHISPER_MODEL": str(whisper)}
        env |= {"VOXQUEUE_POCKET_MODEL": str(model), "VOXQUEUE_POCKET_CODEC": str(codec)}
        rates: dict[str, list[float]] = {"system": [], "engines_alone": []}
        with running_stack(Path(folder) / "stack", env=env, ready_s=1_200) as stack, Client(stack.api_url) as client:
            for _ in range(RUNS):
                rates["engines_alone"].append(NOTES / _alone(served, notes))
                rates["system"].append(NOTES / _through_the_system(client, recordings))
    ratio = spread([a / b for a, b in zip(rates["system"], rates["engines_alone"], strict=True)])
    return {
        "what": f"{NOTES} voice notes at once, one worker, all three stages",
        "aim": "system >= 0.95 of the engines alone",
        "device": device_name(),
        "orchestration": ratio,
        "notes_per_s": {name: spread(values) for name, values in rates.items()},
        "reached": ratio["median"] >= 0.95,
    }


def _load(whisper: Path, pocket: Path, codec: Path) -> dict[Stage, Served]:
    settings = Settings(
        whisper=WhisperSettings(model=str(whisper)), pocket=PocketSettings(model=str(pocket), codec=str(codec))
    )
    served = {}
    for stage, name in _ENGINES.items():
        engine = create_engine(stage, name, settings)
        engine.load()
        served[stage] = Served(engine, settings.stage(stage))
        served[stage].infer_together([engine.warmup_request(longest=False)])
    return served


def _alone(served: dict[Stage, Served], notes: Sequence[Samples]) -> float:
    """Seconds for all notes."""
    began = time.perf_counter()
    with ThreadPoolExecutor(len(notes)) as threads:

        def ask(stage: Stage, requests: Sequence[Any]) -> list[Any]:
            return [answered.result for answered in threads.map(served[stage].ask, requests)]

        heard = ask(Stage.STT, [SttRequest(audio=[note]) for note in notes])
        replied = ask(Stage.LLM, [LlmRequest(text=one.text, language=one.language) for one in heard])
        ask(Stage.TTS, [TtsRequest(text=one.text, language="en") for one in replied])
    return time.perf_counter() - began


def _through_the_system(client: Client, recordings: Sequence[bytes]) -> float:
    """Seconds from the first upload until the last note has succeeded."""
    began = time.perf_counter()

    def send(recording: bytes) -> None:
        client.wait(client.send_note(recording, audio_format="ogg"), timeout=600).raise_for_state()

    with ThreadPoolExecutor(len(recordings)) as threads:
        list(threads.map(send, recordings))
    return time.perf_counter() - began
