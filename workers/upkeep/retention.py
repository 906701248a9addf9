"""The chore that removes what is kept for a limited time only: one question of `voxqueue.retention` each."""

import logging
from collections.abc import Callable

from sqlalchemy.orm import Session

from voxqueue import retention
from voxqueue.database.session import Sessions
from voxqueue.jobs import idempotency
from workers.upkeep.sweeper import Chore

log = logging.getLogger(__name__)

_LIMIT = 1000  # rows per sweep and question; what is left is the next sweep's


def retention_chores(sessions: Sessions, keep_days: float) -> dict[str, Chore]:
    """A chore for each sort of thing that is removed when its time is over."""
    removals: dict[str, Callable[[Session], int]] = {
        "finished jobs": lambda session: retention.remove_jobs(session, keep_days, _LIMIT),
        "events": lambda session: retention.remove_events(session, keep_days, _LIMIT),
        "signing secrets": lambda session: retention.remove_secrets(session, _LIMIT),
        "API keys": lambda session: retention.remove_api_keys(session, _LIMIT),
        "idempotency keys": idempotency.forget_old,
    }
    return {f"removal of old {name}": _Removal(sessions, name, remove) for name, remove in removals.items()}


class _Removal:
    def __init__(self, sessions: Sessions, name: str, remove: Callable[[Session], int]) -> None:
        self._sessions = sessions
        self._name = name
        self._remove = remove

    def __call__(self) -> None:
        with self._sessions.begin() as session:
            removed = self._remove(session)
        if removed:
            log.info("removed %d old %s", removed, self._name)
