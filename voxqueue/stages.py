"""The three stages and the plain values that go into and come out of each.

This is all that engines and the rest of the house share. It must not know jobs, queues, storage or any model.
"""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
"""Samples per second of every waveform that enters speech to text."""


class Stage(StrEnum):
    """A step of a job. The same word is the queue, the folder, the settings group and the column value."""

    STT = "stt"
    LLM = "llm"
    TTS = "tts"


@dataclass(frozen=True, slots=True)
class SttRequest:
    """A decoded note: mono float32 samples in [-1, 1] at 16 kHz, shape ``[n]``."""

    samples: npt.NDArray[np.float32]
    language: str | None = None  # ISO 639-1; None lets the engine find out

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech: start and end in seconds on the note's own clock."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class SttResult:
    """A transcript. Silence is no error: its text is empty and it has no segments."""

    text: str
    language: str | None
    audio_seconds: float
    segments: tuple[Segment, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        segments = tuple(Segment(**segment) for segment in value["segments"])
        return cls(**{**value, "segments": segments})


@dataclass(frozen=True, slots=True)
class LlmRequest:
    """What a person said or wrote, and how to answer it."""

    text: str
    instructions: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class LlmResult:
    """A reply that is meant to be spoken: plain text, no markup."""

    text: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        return cls(**value)


@dataclass(frozen=True, slots=True)
class TtsRequest:
    """A text to speak."""

    text: str
    voice: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class TtsResult:
    """Speech: mono float32 samples in [-1, 1], shape ``[n]``, at the engine's own rate in samples per second."""

    samples: npt.NDArray[np.float32] = field(repr=False)
    sample_rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate


Request = SttRequest | LlmRequest | TtsRequest
Result = SttResult | LlmResult | TtsResult
