"""The row: how long it took to bring an engine to being warm, so that the next start can say how long it will take."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, func
from sqlalchemy.orm import Mapped, mapped_column

from voxqueue.database.base import Base, new_id
from voxqueue.stages import Stage


class StageWarmup(Base):
    """One stage of one start of a worker. `host_class` is the same for machines that are alike."""

    __tablename__ = "stage_warmups"
    __table_args__ = (
        Index(None, "host_class", "stage", "engine", "model", "device", "warm_at"),
        Index(None, "warm_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    worker: Mapped[str]
    host_class: Mapped[str]
    stage: Mapped[Stage]
    engine: Mapped[str]
    model: Mapped[str]
    device: Mapped[str]
    dtype: Mapped[str | None]
    load_ms: Mapped[float]
    warmup_ms: Mapped[float]
    warm_at: Mapped[datetime] = mapped_column(server_default=func.now())
