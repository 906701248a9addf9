"""Sends a submission until it is answered: a lost answer does not say whether there is a job, the next one does.

Safe because every try carries the same ``Idempotency-Key``, which makes one job of them all. Knows nothing of jobs.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx

from voxqueue.client.errors import ApiError, ClientError, ServerUnreachable

AnswerT = TypeVar("AnswerT")

_PATIENCE_S = 75.0  # an API that has died holds a key for 60 s
_PAUSE_S = 0.5  # before the second try; it doubles with each further one, since a recording can be large
_LONGEST_PAUSE_S = 15.0
_IN_USE = "urn:voxqueue:problem:idempotency-key-in-use"
_LOST = (502, 504)  # says what stands before the API: it has heard nothing from it, which tells nothing
_NOT_NOW = (429, 503)
_BROKE_OFF = (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError)  # after all was sent


def until_answered(send: Callable[[], AnswerT]) -> AnswerT:
    """Call `send`, and again for some time if its answer was lost or another try of ours is still being worked on.

    What the API answers to the first try is the answer. Whoever does not even reach it, has sent nothing and learns of
    it at once. But once an answer was lost, an API that restarts or is busy is waited for: there may be a job.
    """
    lost_at: float | None = None
    pause = _PAUSE_S
    while True:
        try:
            return send()
        except (ServerUnreachable, ApiError) as error:
            now = time.monotonic()
            if lost_at is None and _is_lost(error):
                lost_at = now
            if lost_at is None or now - lost_at > _PATIENCE_S or not _is_worth_another(error):
                raise
            time.sleep(min(max(pause, getattr(error, "retry_after", None) or 0.0), _LONGEST_PAUSE_S))
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def _is_lost(error: ClientError) -> bool:
    """Whether the request may have been taken without us learning of it."""
    if isinstance(error, ApiError):
        return error.status in _LOST or error.type == _IN_USE
    return isinstance(error.__cause__, _BROKE_OFF)


def _is_worth_another(error: ClientError) -> bool:
    return not isinstance(error, ApiError) or error.status in (*_LOST, *_NOT_NOW) or error.type == _IN_USE
