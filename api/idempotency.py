"""The ``Idempotency-Key`` of a submission: how it is read, reserved before the work, and given back when that fails."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, BinaryIO

from fastapi import Depends, Header, Request
from pydantic import AfterValidator
from starlette.datastructures import Headers

from api.services import Services
from voxqueue.errors import DatabaseUnavailable, InvalidRequest
from voxqueue.jobs import idempotency
from voxqueue.jobs.idempotency import Reservation
from voxqueue.jobs.models import Job
from voxqueue.jobs.submission import Wishes
from voxqueue.keys.caller import Caller

log = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
LONGEST_KEY = 255


def _is_visible(key: str) -> bool:
    return 1 <= len(key) <= LONGEST_KEY and all("!" <= letter <= "~" for letter in key)


def _visible(key: str) -> str:
    if not _is_visible(key):
        raise ValueError(f"must be 1 to {LONGEST_KEY} visible ASCII characters, none of them a space")
    return key


async def _key(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        AfterValidator(lambda key: key if key is None else _visible(key)),
        Header(
            alias=HEADER,
            description="Your own name for this submission, such as a UUID. Sent again within 24 hours it makes no "
            "second job: the answer is the first one's job, with `Idempotency-Replayed: true`.",
        ),
    ] = None,
) -> str | None:
    if len(request.headers.getlist(HEADER)) > 1:
        raise InvalidRequest.of((HEADER, "is given more than once"))
    return idempotency_key


SubmissionKey = Annotated[str | None, Depends(_key)]


def reserve(
    services: Services, caller: Caller, key: str | None, wishes: Wishes, recording: BinaryIO | None = None
) -> Reservation | Job | None:
    """The right to make the job of the caller's key, or the job if it was made before. None without a key.

    Raises `IdempotencyKeyReused`, `IdempotencyKeyInUse`, `InvalidRequest` or `DatabaseUnavailable`.
    """
    if key is None:
        return None
    fingerprint = idempotency.fingerprint(wishes, recording)
    with services.transaction() as session:
        return idempotency.reserve(session, caller.tenant, key, fingerprint)


def is_replay(services: Services, caller: Caller, headers: Headers) -> bool:
    """Whether a submission's key stands for a job already: it needs no room then. Raises `DatabaseUnavailable`."""
    keys = headers.getlist(HEADER)
    if len(keys) != 1 or not _is_visible(keys[0]):
        return False
    with services.transaction() as session:
        return idempotency.has_job(session, caller.tenant, keys[0])


@contextmanager
def released_if_failed(services: Services, reservation: Reservation | None) -> Iterator[None]:
    """Give the key back if the block fails, so that the same key may be tried again at once."""
    try:
        yield
    except BaseException:
        if reservation is not None:
            try:
                with services.transaction() as session:
                    idempotency.release(session, reservation)
            except DatabaseUnavailable:
                log.warning("a key of a failed submission was not given back; its reservation runs out by itself")
        raise
