"""Makes one job of a submission that is sent more than once: its key is reserved first and completed with the job.

Whoever has reserved a key and died leaves a reservation that runs out. All times are the database's.
"""

import hashlib
import json
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import BinaryIO
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, not_, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from voxqueue.errors import IdempotencyKeyInUse, IdempotencyKeyReused, InvalidRequest
from voxqueue.jobs import repository
from voxqueue.jobs.models import IdempotencyKey, Job
from voxqueue.jobs.submission import JSON_DEPTH, Wishes

_KEPT = timedelta(hours=24)
_RESERVED = timedelta(seconds=60)
_RETRY_AFTER_S = 2.0
_FORGOTTEN_AT_ONCE = 10_000
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Reservation:
    """The right to make the job of a key. `until` tells it from the one of whoever takes over when it has run out."""

    tenant: str
    key: str
    until: datetime


def fingerprint(wishes: Wishes, recording: BinaryIO | None = None) -> str:
    """A SHA-256, in hexadecimal, of all that decides the job: what is wished for, and the recording's bytes.

    Raises `InvalidRequest` for what is nested too deeply to be looked through.
    """
    # What is as usual is left out, so that a release with one more wish still knows the requests from before.
    usual = Wishes(kind=wishes.kind)
    given = {field.name: getattr(wishes, field.name) for field in fields(wishes)}
    members = {name: value for name, value in given.items() if name == "kind" or value != getattr(usual, name)}
    try:
        document = json.dumps(members, sort_keys=True, default=lambda options: options.as_json())
    except RecursionError as error:
        raise InvalidRequest.of(("body", f"is nested more than {JSON_DEPTH} levels deep")) from error
    whole = hashlib.sha256(document.encode())
    if recording is not None:
        recording.seek(0)
        while block := recording.read(_BLOCK):
            whole.update(block)
    return whole.hexdigest()


def reserve(session: Session, tenant: str, key: str, fingerprint: str) -> Reservation | Job:
    """Reserve a tenant's key for the request of this fingerprint, or find the job that was made under it.

    The caller commits at once, before the work begins.

    Raises:
        IdempotencyKeyReused: The key belongs to a request of another fingerprint.
        IdempotencyKeyInUse: The first request with the key is under way.
    """
    found = _look(session, tenant, key)
    if found is None:
        until = _take(session, tenant, key, fingerprint)
        if until is not None:
            return Reservation(tenant, key, until)
        found = _look(session, tenant, key)  # somebody was faster
    if found is None:  # and has given up again
        raise _in_use()
    owner, job_id = found
    if owner != fingerprint:
        raise IdempotencyKeyReused(
            "This Idempotency-Key came with another request before. Use a new key for every new submission."
        )
    if job_id is None:
        raise _in_use()
    return repository.get(session, job_id, tenant)


def has_job(session: Session, tenant: str, key: str) -> bool:
    """Whether a job was made under a tenant's key, by whatever request."""
    found = _look(session, tenant, key)
    return found is not None and found[1] is not None


def complete(session: Session, reservation: Reservation | None, job: Job) -> None:
    """Have the key stand for this job from now on, in the transaction that makes it. None: there is no key.

    Comes last in the transaction, since others with this key would wait for its end.

    Raises:
        IdempotencyKeyInUse: The reservation had run out and another request has taken over; there must be no job.
    """
    if reservation is None:
        return
    completed = (
        update(IdempotencyKey)
        .where(_is(reservation))
        .values(job_id=job.id)
        .returning(IdempotencyKey.key)
        .execution_options(synchronize_session=False)
    )
    if session.scalar(completed) is None:
        raise _in_use()


def release(session: Session, reservation: Reservation) -> None:
    """Give a key back whose request has failed. One that has been completed or taken over stays."""
    session.execute(delete(IdempotencyKey).where(_is(reservation)).execution_options(synchronize_session=False))


def forget_old(session: Session) -> int:
    """Remove keys of more than 24 hours ago, a bounded number at a time; returns how many."""
    row = tuple_(IdempotencyKey.tenant, IdempotencyKey.key)
    old = (
        select(IdempotencyKey.tenant, IdempotencyKey.key)
        .where(IdempotencyKey.created_at < func.now() - _KEPT)
        .order_by(IdempotencyKey.created_at)
        .limit(_FORGOTTEN_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    removed = delete(IdempotencyKey).where(row.in_(old)).returning(IdempotencyKey.key)
    return len(session.scalars(removed.execution_options(synchronize_session=False)).all())


def _look(session: Session, tenant: str, key: str) -> tuple[str, UUID | None] | None:
    """The fingerprint that a key belongs to and the job that was made; None for a key that is free."""
    query = select(IdempotencyKey.fingerprint, IdempotencyKey.job_id)
    row = session.execute(query.where(IdempotencyKey.tenant == tenant, IdempotencyKey.key == key, _is_taken())).first()
    return None if row is None else (row.fingerprint, row.job_id)


def _take(session: Session, tenant: str, key: str, fingerprint: str) -> datetime | None:
    """Write a reservation down, over one that counts no more; None if the key is not free after all."""
    wanted = insert(IdempotencyKey).values(
        tenant=tenant, key=key, fingerprint=fingerprint, reserved_until=func.now() + _RESERVED
    )
    anew = {name: wanted.excluded[name] for name in ("fingerprint", "job_id", "reserved_until", "created_at")}
    taken = wanted.on_conflict_do_update(
        index_elements=["tenant", "key"], set_=anew, where=not_(_is_taken())
    ).returning(IdempotencyKey.reserved_until)
    return session.scalar(taken)


def _is_taken() -> ColumnElement[bool]:
    """Whether a row counts: it has a job, or the request that is to make one may still be alive."""
    counts = or_(IdempotencyKey.job_id.is_not(None), IdempotencyKey.reserved_until > func.now())
    return and_(IdempotencyKey.created_at >= func.now() - _KEPT, counts)


def _is(reservation: Reservation) -> ColumnElement[bool]:
    return and_(
        IdempotencyKey.tenant == reservation.tenant,
        IdempotencyKey.key == reservation.key,
        IdempotencyKey.reserved_until == reservation.until,
        IdempotencyKey.job_id.is_(None),
    )


def _in_use() -> IdempotencyKeyInUse:
    return IdempotencyKeyInUse(
        "A request with this Idempotency-Key is being worked on. Send it again shortly to get its job.",
        retry_after=_RETRY_AFTER_S,
    )
