"""What a caller may ask of a single stage, and nobody but that stage looks at. One column of the job holds it all."""

from dataclasses import dataclass, fields
from typing import Any, Self

from voxqueue.stages import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`reply_schema` is for the language model, as `schema` in `LlmRequest`; the rest is for speech to text."""

    task: Task = Task.TRANSCRIBE
    prompt: str | None = None
    hotwords: str | None = None
    word_timestamps: bool = False
    reply_schema: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Those that differ from what is done anyway."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value != getattr(_USUAL, name)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what a column holds; what another version of this code may have added there is left alone."""
        known = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        return cls(**{**known, "task": Task(known.get("task", Task.TRANSCRIBE))})


_USUAL = Options()
