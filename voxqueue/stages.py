"""The three stages and the plain values that go into and come out of each.

This is all that engines and the rest of the house share. It must not know jobs, queues, storage or any model.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
"""Samples per second of every waveform that enters speech to text."""

Samples = npt.NDArray[np.float32]


class Stage(StrEnum):
    """A step of a job. The same word is the queue, the folder, the settings group and the column value."""

    STT = "stt"
    LLM = "llm"
    TTS = "tts"


class Task(StrEnum):
    """What speech to text makes of speech: its words, or what they mean in English."""

    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


@dataclass(frozen=True, slots=True)
class SttRequest:
    """A note to be heard.

    `audio` gives mono float32 samples in [-1, 1] at 16 kHz in blocks of shape ``[n]`` that follow one another, and
    gives them again each time it is iterated: a long note need not be in memory as a whole.
    """

    audio: Iterable[Samples]
    language: str | None = None  # ISO 639-1; None lets the engine find out
    task: Task = Task.TRANSCRIBE
    prompt: str | None = None  # what came before, or names to expect: the model continues in its spelling
    hotwords: str | None = None  # words to listen for
    word_timestamps: bool = False
    duration: float | None = None  # how long it is said to be in seconds, for telling how far one is

    @property
    def samples(self) -> Samples:
        """The whole note, shape ``[n]``."""
        blocks = list(self.audio)
        return blocks[0] if len(blocks) == 1 else np.concatenate([np.zeros(0, np.float32), *blocks])

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Word:
    """A word: start and end in seconds on the note's own clock, and how sure the engine is, from 0 to 1."""

    start: float
    end: float
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech: start and end in seconds on the note's own clock. Words only where they were asked for."""

    start: float
    end: float
    text: str
    average_log_probability: float | None = None  # of its tokens, natural logarithm
    words: tuple[Word, ...] = ()

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        return cls(**{**value, "words": tuple(Word(**word) for word in value.get("words", ()))})


@dataclass(frozen=True, slots=True)
class SttResult:
    """A transcript. Silence is no error: its text is empty and it has no segments.

    `speech_seconds` is how much of the note is speech, where the engine looks for it.
    """

    text: str
    language: str | None
    audio_seconds: float
    segments: tuple[Segment, ...] = ()
    language_probability: float | None = None
    speech_seconds: float | None = None
    average_log_probability: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        return cls(**{**value, "segments": tuple(map(Segment.from_json, value["segments"]))})


@dataclass(frozen=True, slots=True)
class LlmRequest:
    """What a person said or wrote, and how to answer it."""

    text: str
    instructions: str | None = None
    language: str | None = None
    schema: dict[str, Any] | None = None  # a JSON schema that the reply must follow


@dataclass(frozen=True, slots=True)
class LlmResult:
    """A reply that is meant to be spoken: plain text, no markup. `data` is what it says, where a schema was given."""

    text: str
    data: Any = None

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

    samples: Samples = field(repr=False)
    sample_rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate


Request = SttRequest | LlmRequest | TtsRequest
Result = SttResult | LlmResult | TtsResult
