"""What the log says of webhooks that fail: each attempt at debug level, each receiver once a minute as a warning.

So a receiver that is away with a thousand deliveries owed to it writes one line a minute. Of an address only the host
is said: the rest of it may hold secrets. Knows nothing of rows.
"""

import logging
import threading
import time
from datetime import timedelta
from uuid import UUID

from cachetools import LRUCache

from voxqueue.webhooks.repository import Owed
from voxqueue.webhooks.schedule import GONE, Attempt

log = logging.getLogger(__name__)

_PAUSE_S = 60.0
_REMEMBERED = 10_000  # receivers


class FailureLog:
    """Safe to share between threads."""

    def __init__(self) -> None:
        # When each receiver was last warned of, and how many attempts at it have failed since.
        self._warned: LRUCache[UUID | str, tuple[float, int]] = LRUCache(_REMEMBERED)
        self._lock = threading.Lock()

    def failed(self, owed: Owed, attempt: Attempt, due_in_s: float | None) -> None:
        """An attempt has failed; the next one comes in `due_in_s` seconds, or never."""
        unsaid = self._unsaid(owed.endpoint_id or owed.host)
        log.log(
            logging.DEBUG if unsaid is None else logging.WARNING,
            "delivery %s to %s failed at attempt %d: %s; %s%s",
            owed.id,
            _receiver(owed),
            owed.attempts + 1,
            _reason(attempt),
            "it is not tried again" if due_in_s is None else f"next try in {timedelta(seconds=round(due_in_s))}",
            f"; {unsaid} more to this receiver failed since it was last warned of" if unsaid else "",
        )

    def disabled(self, owed: Owed, attempt: Attempt, after_s: float) -> None:
        """An attempt was one too many for its endpoint."""
        gone = attempt.status == GONE
        why = "it answered 410 Gone" if gone else f"all attempts of {after_s / 3600:g} hours have failed"
        log.warning("%s is disabled: %s; its tenant enables it again", _receiver(owed), why)

    def _unsaid(self, receiver: UUID | str) -> int | None:
        """How many failures went by without a warning, if one is due now; else None."""
        now = time.monotonic()
        with self._lock:
            warned_at, unsaid = self._warned.get(receiver, (-_PAUSE_S, 0))
            due = now - warned_at >= _PAUSE_S
            self._warned[receiver] = (now, 0) if due else (warned_at, unsaid + 1)
        return unsaid if due else None


def _receiver(owed: Owed) -> str:
    if owed.endpoint_id is not None:
        return f"webhook endpoint {owed.endpoint_id} at {owed.host}"
    return f"the webhook_url of job {owed.data.get('job_id')} at {owed.host}"


def _reason(attempt: Attempt) -> str:
    return (attempt.error or f"It answered {attempt.status}.").removesuffix(".")
