"""How long it took to be warm: the rows of earlier starts, and what they come to. Every query on them stands here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from voxqueue.fleet.models import StageWarmup
from voxqueue.stages import Stage

KEEP = 50
"""Starts that are kept of each key: host class, stage, engine, model and device."""

_KEY = (
    StageWarmup.host_class,
    StageWarmup.stage,
    StageWarmup.engine,
    StageWarmup.model,
    StageWarmup.device,
)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the kept starts of one key come to. Times in milliseconds."""

    host_class: str
    stage: Stage
    engine: str
    model: str
    device: str
    starts: int
    load_p50_ms: float
    load_p90_ms: float
    warmup_p50_ms: float
    warmup_p90_ms: float
    last_at: datetime


def note(session: Session, start: StageWarmup) -> None:
    """Keep a start, and of those with its key the newest `KEEP`."""
    session.add(start)
    session.flush()
    alike = [column == getattr(start, column.key) for column in _KEY]
    newest_first = select(StageWarmup.id).where(*alike).order_by(StageWarmup.warm_at.desc(), StageWarmup.id.desc())
    session.execute(delete(StageWarmup).where(StageWarmup.id.in_(newest_first.offset(KEEP))))


def of_host(session: Session, host_class: str) -> Sequence[StageWarmup]:
    """The kept starts of machines that are alike, the newest first."""
    ours = select(StageWarmup).where(StageWarmup.host_class == host_class)
    return session.scalars(ours.order_by(StageWarmup.warm_at.desc(), StageWarmup.id.desc())).all()


def summaries(session: Session) -> list[Summary]:
    """What the kept starts come to, by key: the key that was started last comes first."""
    last_at = func.max(StageWarmup.warm_at)
    shares = [
        func.percentile_cont(share).within_group(column.asc())
        for column in (StageWarmup.load_ms, StageWarmup.warmup_ms)
        for share in (0.5, 0.9)
    ]
    grouped = select(*_KEY, func.count(), *shares, last_at).group_by(*_KEY).order_by(last_at.desc())
    return [Summary(*row) for row in session.execute(grouped)]


def latest(session: Session, number: int) -> Sequence[StageWarmup]:
    """The last so many starts of any stage, the newest first."""
    newest_first = select(StageWarmup).order_by(StageWarmup.warm_at.desc(), StageWarmup.id.desc())
    return session.scalars(newest_first.limit(number)).all()
