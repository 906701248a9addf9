"""What a confined child can be asked to do. A task takes the upload and plain arguments, and returns JSON values."""

import io
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from importlib import import_module
from typing import Any, BinaryIO

import av
import numpy as np

from voxqueue.audio.encode import encode
from voxqueue.audio.formats import AudioFormat
from voxqueue.audio.probe import probe
from voxqueue.errors import AudioError

Task = Callable[..., Any]

BROKEN_CHARS = 300


def look_into(upload: BinaryIO, *, max_seconds: float, min_seconds: float) -> dict[str, Any]:
    """`probe`, its result as an object."""
    return asdict(probe(upload, max_seconds=max_seconds, min_seconds=min_seconds))


TASKS: Mapping[str, Task] = {"probe": look_into}


def warm() -> None:
    """Load what is loaded late, while files can be opened, and have FFmpeg fill its tables once for all children."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    for audio_format in AudioFormat:
        probe(io.BytesIO(_note(audio_format)), max_seconds=1, min_seconds=0)


def touch() -> None:
    """Do once what is to be done, so that a child has its own copy of the memory that this writes into."""
    probe(io.BytesIO(_note(AudioFormat.OGG)), max_seconds=1, min_seconds=0)


@cache
def _note(audio_format: AudioFormat) -> bytes:
    """Half a second of silence."""
    return encode(np.zeros(8_000, np.float32), 16_000, audio_format)


def perform(tasks: Mapping[str, Task], name: str, upload: BinaryIO, arguments: dict[str, Any]) -> dict[str, Any]:
    """Do a task. What comes back has one member: ``value``, or ``refused`` with code and detail, or ``broken``."""
    try:
        return {"value": tasks[name](upload, **arguments)}
    except AudioError as error:
        return {"refused": [error.code, error.detail]}
    except Exception as error:
        return {"broken": f"{type(error).__name__}: {error}"[:BROKEN_CHARS]}
