"""What event streams tell beyond what other answers show."""

from uuid import UUID

from pydantic import BaseModel, Field

from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.states import JobState
from voxqueue.stages import Stage


class JobLineView(BaseModel):
    """A job in a line."""

    id: UUID
    kind: Kind
    state: JobState
    stage: Stage
    progress: int = Field(description="0 to 100")
