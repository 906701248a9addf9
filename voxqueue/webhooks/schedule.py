"""What comes after an attempt: nothing more, or another one, and when. Pure: no rows, no clock, no network."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from voxqueue.webhooks.events import DeliveryState

GONE = 410
SPREAD = 0.1  # of a pause, up and down: what failed together is not tried again together

_ASKS_TO_WAIT = (429, 503)
_LONGEST_WAIT_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One POST, or why there was none. `answer` is how the answer's body begins, `retry_after` a header of it."""

    duration_ms: float
    status: int | None = None
    error: str | None = None
    answer: str | None = None
    retry_after: str | None = None

    @property
    def succeeded(self) -> bool:
        return self.error is None and self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of a delivery after an attempt; while it is pending, the next one may be made in `due_in_s` seconds."""

    state: DeliveryState
    due_in_s: float = 0.0


def verdict(attempt: Attempt, number: int, schedule: Sequence[float], *, ended_at: datetime, jitter: float) -> Verdict:
    """What becomes of a delivery.

    Args:
        attempt: The latest one.
        number: How many it has had, this one included.
        schedule: Seconds before each attempt.
        ended_at: When the attempt was over, with a time zone.
        jitter: Where in the spread of the pause to be, from -1 to 1.
    """
    if attempt.succeeded:
        return Verdict(DeliveryState.SUCCEEDED)
    if attempt.status == GONE or number >= len(schedule):
        return Verdict(DeliveryState.FAILED)
    pause_s = schedule[number] * (1 + SPREAD * jitter)
    if attempt.status in _ASKS_TO_WAIT and attempt.retry_after is not None:
        pause_s = max(pause_s, _wait_s(attempt.retry_after, ended_at))
    return Verdict(DeliveryState.PENDING, pause_s)


def _wait_s(retry_after: str, now: datetime) -> float:
    """The seconds that a Retry-After header asks for; 0 if it makes no sense."""
    if re.fullmatch(r"\d{1,9}", retry_after.strip(), re.ASCII):
        wait_s = float(retry_after)
    else:
        try:
            until = parsedate_to_datetime(retry_after)
            wait_s = (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - now.timestamp()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(wait_s, 0.0), _LONGEST_WAIT_S)
