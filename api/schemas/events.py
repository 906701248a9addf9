"""What event streams tell beyond what other answers show, and how an event goes over the wire."""

from dataclasses import dataclass
from hashlib import blake2s
from typing import Self
from uuid import UUID

from fastapi.sse import format_sse_event
from pydantic import BaseModel, Field

from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.repository import JobLine
from voxqueue.jobs.states import JobState
from voxqueue.stages import Stage


class JobLineView(BaseModel):
    """A job in a line."""

    id: UUID
    kind: Kind
    state: JobState
    stage: Stage
    progress: int = Field(description="0 to 100")


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it goes over the wire. The id stands for what it says."""

    id: str
    wire: bytes

    @classmethod
    def of(cls, name: str, text: str) -> Self:
        event_id = blake2s(text.encode(), digest_size=8).hexdigest()
        return cls(event_id, format_sse_event(data_str=text, event=name, id=event_id))


def show_line(line: JobLine) -> bytes:
    """The event that tells of a job in a line."""
    return Event.of("job", JobLineView.model_validate(line, from_attributes=True).model_dump_json()).wire
