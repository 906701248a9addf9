"""How much work there is and how fast it goes: the counts that admission asks for. Each is answered from an index."""

from datetime import timedelta

from sqlalchemy import ColumnElement, TextClause, func, select, text
from sqlalchemy.orm import Session

from voxqueue.jobs.models import Job

DRAIN_WINDOW_S = 60

# Letter for letter as the partial indices have it: of a bound parameter the planner cannot always tell that it fits.
_QUEUED = text("state = 'queued'")
_OPEN = text("state IN ('queued', 'running')")


def queued(session: Session) -> int:
    """Jobs that wait, of all callers together."""
    return _count(session, _QUEUED)


def under_way(session: Session, api_key: str | None) -> int:
    """Jobs of one key that have not finished; None stands for all that came without one."""
    return _count(session, _OPEN, Job.api_key == api_key)


def finished(session: Session) -> int:
    """Jobs that have finished within the last `DRAIN_WINDOW_S` seconds, of all callers together."""
    return _count(session, _lately())


def finished_of(session: Session, api_key: str | None) -> int:
    """The same, of one key; None stands for all that came without one."""
    return _count(session, _lately(), Job.api_key == api_key)


def _lately() -> ColumnElement[bool]:
    return Job.finished_at > func.now() - timedelta(seconds=DRAIN_WINDOW_S)


def _count(session: Session, *conditions: ColumnElement[bool] | TextClause) -> int:
    return session.scalars(select(func.count()).select_from(Job).where(*conditions)).one()
