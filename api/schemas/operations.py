"""What operators are told of the fleet and of how jobs go, of all tenants together, but of no other tenant's job."""

from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.jobs import Utc
from voxqueue.fleet import QueueReport, WorkerReport
from voxqueue.stages import Stage


class _FromValues(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class MinuteView(_FromValues):
    """Jobs that ended within one minute."""

    at: Utc = Field(description="When the minute began")
    succeeded: int
    failed: int
    canceled: int


class PaceView(_FromValues):
    """How one stage went: of the newest thousand jobs that ended within the last hour."""

    stage: Stage
    runs: int
    mean_batch: float = Field(description="Pieces of the model call that a run had its share in")
    batches: dict[int, int] = Field(description="Size of a model call, and the runs that had a share in such a one")
    wait_p50_ms: float
    wait_p95_ms: float
    run_p50_ms: float
    run_p95_ms: float


class FailureView(_FromValues):
    """Jobs that failed at one stage for one reason."""

    stage: Stage
    type: str
    title: str
    count: int
    last_at: Utc
    detail: str | None = Field(description="Of the last of them, if that is yours")
    job_id: UUID | None = Field(description="The last of them, if it is yours")
    tenant: str = Field(exclude=True)

    def seen_by(self, tenant: str) -> Self:
        """Without what is about another tenant's job."""
        return self if tenant == self.tenant else self.model_copy(update={"detail": None, "job_id": None})


class Statistics(_FromValues):
    """What the database knows of the last hour and the last day."""

    throughput: list[MinuteView] = Field(description="The last hour, minute by minute")
    paces: list[PaceView]
    failures: list[FailureView] = Field(description="The last day, the most frequent reason first")

    def seen_by(self, tenant: str) -> Self:
        """Without what is about another tenant's job."""
        return self.model_copy(update={"failures": [failure.seen_by(tenant) for failure in self.failures]})


class OperationsView(BaseModel):
    """The fleet at work."""

    at: Utc
    workers: list[WorkerReport] | None = Field(description="What each says of itself; null while Redis is away")
    queues: dict[Stage, QueueReport] | None = Field(description="What waits; null while the database is away")
    statistics: Statistics | None = Field(description="How it went; null while the database is away")
    flower_url: str | None = Field(description="Where Flower is")
