"""What the probes answer. `voxqueue.fleet` has the fleet's report."""

from pydantic import BaseModel, Field


class Alive(BaseModel):
    status: str = "ok"


class Dependency(BaseModel):
    """Something that this process needs."""

    ready: bool
    required: bool = Field(description="Whether jobs cannot be accepted without it")
    error: str | None = None


class ProcessReadiness(BaseModel):
    """Whether this process can accept jobs."""

    ready: bool
    database: Dependency
    storage: Dependency
    redis: Dependency = Field(description="Without it, accepted jobs start later")
