"""The rows: a note, a job, and one run per stage of a job. Only `lifecycle` writes `state`."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import REAL, BigInteger, CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from voxqueue.database.base import Base, new_id
from voxqueue.jobs.kinds import Kind, Priority
from voxqueue.jobs.states import JobState, RunState
from voxqueue.keys.caller import DEFAULT_TENANT
from voxqueue.stages import Stage


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


class Note(Base):
    """An uploaded recording. Never changed."""

    __tablename__ = "notes"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    key: Mapped[str] = mapped_column(unique=True)
    media_type: Mapped[str]
    container: Mapped[str]
    codec: Mapped[str]
    sample_rate: Mapped[int]
    channels: Mapped[int]
    seconds: Mapped[float]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    file_name: Mapped[str | None]  # what the client called it: shown, never a path
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Job(Base):
    """One piece of work.

    `attempt` counts the claims and is the fencing token: a worker's write says which claim it speaks for. `lost_leases`
    counts the workers that went away while they were at the job. `due_at` is when the job may run next, `hinted_at`
    when a message about it was last sent. `api_key` is the id of the key that it came with. `webhook_url` is told of
    `webhook_events`. `traceparent` is the span that it was submitted in, as W3C's header has it.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(_one_of("kind", Kind), name="kind"),
        CheckConstraint(_one_of("state", JobState), name="state"),
        CheckConstraint(_one_of("stage", Stage), name="stage"),
        CheckConstraint(_one_of("priority", Priority), name="priority"),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease"),
        CheckConstraint("(state IN ('succeeded', 'failed', 'canceled')) = (finished_at IS NOT NULL)", name="finished"),
        # One index for each question that is asked often: a page of jobs, what waits where, which lease was lost,
        # how many a caller has under way, what finished lately or long ago, what failed lately.
        Index(None, "tenant", "id"),
        Index(None, "tenant", "state", "id"),
        Index("ix_jobs_queued", "stage", "due_at", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_running", "stage", "lease_until", postgresql_where=text("state = 'running'")),
        Index("ix_jobs_open", "api_key", postgresql_where=text("state IN ('queued', 'running')")),
        Index("ix_jobs_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index("ix_jobs_failed", "finished_at", postgresql_where=text("state = 'failed'")),
        Index(None, "note_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant: Mapped[str] = mapped_column(default=DEFAULT_TENANT, server_default=DEFAULT_TENANT)
    api_key: Mapped[str | None]
    kind: Mapped[Kind]
    state: Mapped[JobState] = mapped_column(default=JobState.QUEUED)
    stage: Mapped[Stage]
    priority: Mapped[Priority] = mapped_column(default=Priority.NORMAL)
    note_id: Mapped[UUID | None] = mapped_column(ForeignKey("notes.id"))
    text: Mapped[str | None]
    language: Mapped[str | None]
    instructions: Mapped[str | None]
    voice: Mapped[str | None]
    audio_format: Mapped[str]
    options: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")  # as `Options` has them
    client_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    webhook_url: Mapped[str | None]
    webhook_events: Mapped[list[str] | None] = mapped_column(JSONB(none_as_null=True))
    error: Mapped[dict[str, Any] | None]
    traceparent: Mapped[str | None]

    attempt: Mapped[int] = mapped_column(default=0)
    lost_leases: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    hinted_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    note: Mapped[Note | None] = relationship(lazy="joined")
    runs: Mapped[list["StageRun"]] = relationship(
        lazy="selectin", order_by="StageRun.position", passive_deletes=True, back_populates="job"
    )

    def run_of(self, stage: Stage) -> "StageRun | None":
        return next((run for run in self.runs if run.stage == stage), None)


class StageRun(Base):
    """One stage of one job: how it went, and its result once committed (the checkpoint).

    `degradations` are sentences on what the caller gets less than was asked for. `progress` is how much of a run that
    is under way is done; `share` is the same of any run.
    """

    __tablename__ = "stage_runs"
    __table_args__ = (
        CheckConstraint(_one_of("stage", Stage), name="stage"),
        CheckConstraint(_one_of("state", RunState), name="state"),
    )

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    stage: Mapped[Stage] = mapped_column(primary_key=True)
    position: Mapped[int]
    state: Mapped[RunState] = mapped_column(default=RunState.PENDING)
    failures: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str | None]
    engine: Mapped[str | None]
    model: Mapped[str | None]
    ready_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    run_ms: Mapped[float | None]
    batch_size: Mapped[int | None]
    progress: Mapped[float] = mapped_column(REAL, default=0.0, server_default="0")
    degradations: Mapped[list[str]] = mapped_column(JSONB(none_as_null=True), default=list, server_default="[]")
    result: Mapped[dict[str, Any] | None]

    job: Mapped[Job] = relationship(back_populates="runs")

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1, which stands for committed."""
        return 1.0 if self.state in (RunState.SUCCEEDED, RunState.SKIPPED) else min(self.progress, 0.99)

    @property
    def wait_ms(self) -> float | None:
        """Milliseconds between the stage being ready to run and its model call."""
        if self.ready_at is None or self.started_at is None:
            return None
        return max(0.0, (self.started_at - self.ready_at).total_seconds() * 1000)


class DoomedBlob(Base):
    """A key whose row is gone: upkeep removes the blob, then this row, so that a crash in between leaves nothing."""

    __tablename__ = "doomed_blobs"

    key: Mapped[str] = mapped_column(primary_key=True)
    doomed_at: Mapped[datetime] = mapped_column(server_default=func.now())


class IdempotencyKey(Base):
    """A caller's own name for a submission, so that sending it again makes no second job.

    Without a job, a request with this name is under way; after `reserved_until` that request is taken for dead.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"), Index(None, "job_id"))

    tenant: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    reserved_until: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
