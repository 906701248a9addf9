"""How the voices of the fleet look on the wire."""

from collections.abc import Iterable
from typing import Self

from pydantic import BaseModel, Field

from voxqueue.fleet import VoicesReport


class VoiceView(BaseModel):
    """A voice that can be asked for by its name."""

    name: str
    language: str | None = Field(description="ISO 639-1; null where it speaks several")
    engine: str
    model: str


class VoiceList(BaseModel):
    """The voices that the fleet has now, by name."""

    voices: list[VoiceView]

    @classmethod
    def of(cls, reports: Iterable[VoicesReport], language: str | None) -> Self:
        """All of them, or those that speak a language."""
        found = {
            (voice.name, voice.language or "", report.engine, report.model)
            for report in reports
            for voice in report.voices
            if language is None or voice.language in (None, language)
        }
        return cls(
            voices=[
                VoiceView(name=name, language=spoken or None, engine=engine, model=model)
                for name, spoken, engine, model in sorted(found)
            ]
        )
