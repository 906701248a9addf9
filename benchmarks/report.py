"""How results are summed up, shown and kept: a number without its circumstances and its spread says little."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = (
    "voxqueue",
    "celery",
    "kombu",
    "redis",
    "sqlalchemy",
    "psycopg",
    "fastapi",
    "uvicorn",
    "numpy",
    "av",
    "jiwer",
    "pocketsphinx",
    "faster-whisper",
    "ctranslate2",
    "transformers",
    "torch",
)


def circumstances(command: str) -> dict[str, Any]:
    """When, with what and on what it was measured."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "machine": {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "versions": versions,
    }


def device_name() -> str:
    """The accelerator that models run on, or the processor."""
    try:
        import torch

        if torch.cuda.is_available():
            return str(torch.cuda.get_device_name())
    except ImportError:
        pass
    return f"CPU, {os.cpu_count()} cores"


def spread(values: Sequence[float], digits: int = 3) -> dict[str, Any]:
    """Median, extremes and every value."""
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "runs": [round(value, digits) for value in values],
    }


def keep(name: str, result: dict[str, Any]) -> None:
    """Write one benchmark's result, with its circumstances, to ``benchmarks/results/NAME.json``."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    everything = {**circumstances(f"python -m benchmarks {name}"), **result}
    (RESULTS / f"{name}.json").write_text(json.dumps(everything, indent=2) + "\n", "utf-8")
