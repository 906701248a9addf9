"""How many words an engine of speech to text gets wrong on real recordings.

    python -m benchmarks.word_error_rate [--engine pocketsphinx] [--audio DIR]

DIR holds recordings and a ``manifest.jsonl`` with ``file``, ``language``, ``speaker`` and ``text`` per line. English
ones are used, and of several copies of one recording the first, so that none weighs more than another.
Prints a table and writes ``benchmarks/results/word_error_rate.json``, one entry per engine.
"""

import argparse
import json
import re
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jiwer
from rich.console import Console
from rich.table import Table

from benchmarks.report import RESULTS, ROOT, circumstances
from voxqueue.audio import decode
from voxqueue.errors import VoxqueueError
from voxqueue.settings import Settings
from voxqueue.stages import Stage, SttRequest
from workers.engines.registry import create_engine
from workers.serving import Served

_FILE = RESULTS / "word_error_rate.json"


@dataclass(frozen=True, slots=True)
class Clip:
    """What was said and what was heard, both normalised, and how long the engine took."""

    file: str
    audio_seconds: float
    seconds: float
    said: str
    heard: str

    @property
    def errors(self) -> float:
        return float(jiwer.wer(self.said, self.heard))


def normalise(text: str) -> str:
    """Lower case, letters, digits and apostrophes only; a hyphen parts words."""
    return " ".join(re.findall(r"[\w']+", text.lower().replace("’", "'")))


def measure(engine_name: str, audio: Path) -> list[Clip]:
    """Transcribe every English clip of the folder by itself; a refused one counts as not understood at all."""
    settings = Settings()
    engine = create_engine(Stage.STT, engine_name, settings)
    engine.load()
    clips, heard_already = [], set()
    try:
        served = Served(engine, settings.stt)
        served.infer_together([engine.warmup_request(longest=True)])
        for line in (audio / "manifest.jsonl").read_text("utf-8").splitlines():
            entry = json.loads(line)
            if entry["language"] != "en" or (entry["speaker"], entry["text"]) in heard_already:
                continue
            heard_already.add((entry["speaker"], entry["text"]))
            samples = decode((audio / entry["file"]).read_bytes(), max_seconds=900)
            request = SttRequest(audio=[samples], language="en")
            began = time.perf_counter()
            try:
                heard = normalise(served.ask(request).result.text)
            except VoxqueueError:
                heard = ""
            took = time.perf_counter() - began
            clips.append(
                Clip(entry["file"], round(request.seconds, 2), round(took, 3), normalise(entry["text"]), heard)
            )
    finally:
        engine.close()
    return clips


def summarise(clips: list[Clip]) -> dict[str, Any]:
    total = jiwer.process_words([clip.said for clip in clips], [clip.heard for clip in clips])
    audio_seconds = sum(clip.audio_seconds for clip in clips)
    return {
        "word_error_rate": round(total.wer, 4),
        "substitutions": total.substitutions,
        "deletions": total.deletions,
        "insertions": total.insertions,
        "clips": len(clips),
        "words": total.hits + total.substitutions + total.deletions,
        "audio_seconds": round(audio_seconds, 1),
        "seconds_per_audio_second": round(sum(clip.seconds for clip in clips) / audio_seconds, 3),
    }


def show(engine: str, clips: list[Clip], summary: dict[str, Any]) -> None:
    table = Table("clip", "s", "WER", "said", "heard", title=f"Words that {engine} got wrong")
    for clip in clips:
        table.add_row(clip.file, f"{clip.audio_seconds:.1f}", f"{clip.errors:.2f}", clip.said, clip.heard)
    console = Console()
    console.print(table)
    console.print(
        f"{engine}: WER {summary['word_error_rate']:.3f} over {summary['clips']} clips, {summary['words']} words, "
        f"{summary['audio_seconds']} s; {summary['seconds_per_audio_second']} s of time per second of audio"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", default="pocketsphinx", help="a name in the registry of speech to text")
    parser.add_argument("--audio", type=Path, default=ROOT.parent / "shared" / "audio", help="recordings and manifest")
    options = parser.parse_args()
    if not (options.audio / "manifest.jsonl").is_file():
        parser.error(f"there is no manifest.jsonl in {options.audio}")
    clips = measure(options.engine, options.audio)
    if not clips:
        parser.error(f"the manifest in {options.audio} names no English recording")
    summary = summarise(clips)
    show(options.engine, clips, summary)
    results = json.loads(_FILE.read_text("utf-8")) if _FILE.is_file() else {}
    command = shlex.join(["python", "-m", "benchmarks.word_error_rate", *sys.argv[1:]])
    results[options.engine] = {**summary, **circumstances(command), "per_clip": [asdict(clip) for clip in clips]}
    RESULTS.mkdir(parents=True, exist_ok=True)
    _FILE.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
