"""What can go wrong between a caller and the API. Every message says what to do about it. Knows nothing of jobs."""

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Base of all that the client raises."""


class ApiError(ClientError):
    """The API said no.

    Attributes:
        status: The HTTP status.
        type: The problem's stable name (RFC 9457); ``about:blank`` where the answer was no problem document.
        title: What kind of problem it is.
        detail: What happened this time, and what to do.
        retry_after: Seconds after which trying again makes sense, where the API said so.
        extra: The problem's further members.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], *, retry_after: float | None = None) -> None:
        members = dict(problem)
        members.pop("status", None)
        self.status = status
        self.type = str(members.pop("type", None) or "about:blank")
        self.title = str(members.pop("title", None) or f"HTTP {status}")
        self.detail = str(members.pop("detail", None) or "")
        self.retry_after = retry_after
        self.extra = members
        super().__init__(self.detail or self.title)


class ServerUnreachable(ClientError):
    """Nobody answers at the address, or not in time."""
