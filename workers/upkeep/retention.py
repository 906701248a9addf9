"""The chore that removes what is kept for a limited time only: one question of `voxqueue.retention` each."""

import logging
from collections.abc import Callable
from functools import partial

from sqlalchemy.orm import Session

from voxqueue import retention
from voxqueue.database.session import Sessions
from voxqueue.jobs import idempotency
from workers.upkeep.sweeper import LIMIT, Chore

log = logging.getLogger(__name__)


def retention_chores(sessions: Sessions, keep_days: float) -> dict[str, Chore]:
    """A chore for each sort of thing that is removed when its time is over."""
    removals: dict[str, Callable[[Session], int]] = {
        "finished jobs": lambda session: retention.remove_jobs(session, keep_days, LIMIT),
        "events": lambda session: retention.remove_events(session, keep_days, LIMIT),
        "signing secrets": lambda session: retention.remove_secrets(session, LIMIT),
        "API keys": lambda session: retention.remove_api_keys(session, LIMIT),
        "idempotency keys": idempotency.forget_old,
    }
    return {f"removal of old {name}": partial(_remove, sessions, name, remove) for name, remove in removals.items()}


def _remove(sessions: Sessions, name: str, remove: Callable[[Session], int]) -> None:
    with sessions.begin() as session:
        removed = remove(session)
    if removed:
        log.info("removed %d old %s", removed, name)
