"""Where the next page begins, in letters that callers send back. What a place consists of is its list's business."""

import base64
import struct
from collections.abc import Callable
from typing import TypeVar

from voxqueue.errors import InvalidRequest

PlaceT = TypeVar("PlaceT")


def write(place: bytes) -> str:
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def read(cursor: str | None, parse: Callable[[bytes], PlaceT]) -> PlaceT | None:
    """The place that a cursor stands for, as `parse` reads its bytes; None without a cursor.

    Raises `InvalidRequest` for one that we did not give out.
    """
    if cursor is None:
        return None
    try:
        return parse(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, OverflowError, struct.error):
        raise InvalidRequest.of(("cursor", "is none that we gave out; begin without one")) from None
