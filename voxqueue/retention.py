"""What is removed because its time is over, each in one bounded statement, the oldest first.

Never waits for others: a row that somebody works with is left for the next turn. The caller commits. Each function
returns how many it has removed. All times are the database's.
"""

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, delete, exists, func, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from voxqueue.database.base import Base
from voxqueue.keys.models import ApiKey
from voxqueue.webhooks.events import DeliveryState
from voxqueue.webhooks.models import Delivery, Event, SigningSecret

_KEYS_KEPT = timedelta(days=30)

_REMOVE_JOBS = text("""
    WITH old AS MATERIALIZED (
        SELECT id, note_id FROM jobs WHERE finished_at < now() - make_interval(secs => :keep_s)
        ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ), doomed AS (
        INSERT INTO doomed_blobs (key)
        SELECT key FROM notes JOIN old ON old.note_id = notes.id
        UNION
        SELECT result ->> 'key' FROM stage_runs JOIN old ON old.id = job_id WHERE stage = 'tts' AND result IS NOT NULL
        ON CONFLICT DO NOTHING
    ), jobs_removed AS (
        DELETE FROM jobs USING old WHERE jobs.id = old.id
    ), notes_removed AS (
        DELETE FROM notes USING old WHERE notes.id = old.note_id
    )
    SELECT count(*) FROM old
""")


def remove_jobs(session: Session, keep_days: float, limit: int) -> int:
    """Jobs that have been finished for so long, with their notes and runs; their blobs are doomed."""
    removed: int = session.execute(_REMOVE_JOBS, {"keep_s": keep_days * 86_400, "limit": limit}).scalar_one()
    return removed


def remove_events(session: Session, keep_days: float, limit: int) -> int:
    """Events that old, with their deliveries, unless one of these is still owed or has ended since."""
    long_ago = func.now() - timedelta(days=keep_days)
    needed = (Delivery.state == DeliveryState.PENDING) | (Delivery.finished_at > long_ago)
    forgotten = (Event.created_at < long_ago) & ~exists().where(Delivery.event_id == Event.id, needed)
    return _remove(session, Event, Event.id, forgotten, Event.created_at, limit)


def remove_secrets(session: Session, limit: int) -> int:
    """Signing secrets that another one has replaced and that sign no more."""
    ended = SigningSecret.expires_at
    return _remove(session, SigningSecret, SigningSecret.id, ended < func.now(), ended, limit)


def remove_api_keys(session: Session, limit: int) -> int:
    """API keys that were revoked or have expired more than 30 days ago; until then they can be looked up."""
    ended = func.least(ApiKey.expires_at, ApiKey.revoked_at)  # ignores what is null
    return _remove(session, ApiKey, ApiKey.id, ended < func.now() - _KEYS_KEPT, ended, limit)


def _remove(
    session: Session,
    rows: type[Base],
    row_id: InstrumentedAttribute[Any],
    which: ColumnElement[bool],
    age: SQLColumnExpression[Any],
    limit: int,
) -> int:
    old = select(row_id).where(which).order_by(age).limit(limit).with_for_update(skip_locked=True)
    removal = delete(rows).where(row_id.in_(old)).returning(row_id).execution_options(synchronize_session=False)
    return len(session.scalars(removal).all())
