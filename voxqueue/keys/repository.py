"""Every query about API keys, each with a sentence. By the database's clock."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.orm import Session

from voxqueue.errors import NotFound
from voxqueue.keys.caller import Caller, Scope
from voxqueue.keys.keys import Key
from voxqueue.keys.models import ApiKey

_USED_LATELY = timedelta(minutes=1)  # a key's last use is written down no more often


class KeyState(StrEnum):
    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What the API knows of a key: whose it is, how its secret is recognised, and whether it counts now."""

    caller: Caller
    secret_hash: str
    state: KeyState
    used_lately: bool


def add(
    session: Session, key: Key, *, name: str, tenant: str, scopes: Collection[Scope], days: float | None = None
) -> ApiKey:
    """Store a new key, which counts for that many days; None means until it is revoked."""
    row = ApiKey(
        id=key.id,
        tenant=tenant,
        name=name,
        secret_hash=key.secret_hash,
        scopes=sorted(scope.value for scope in scopes),
        expires_at=None if days is None else func.now() + timedelta(days=days),
    )
    session.add(row)
    session.flush()
    return row


def find(session: Session, key_id: str) -> StoredKey | None:
    """A key in any state, by its public part."""
    row = session.execute(select(ApiKey, _state(), _used_lately()).where(ApiKey.id == key_id)).one_or_none()
    if row is None:
        return None
    stored, state, used_lately = row
    scopes = frozenset(scope for scope in Scope if scope.value in stored.scopes)
    return StoredKey(Caller(stored.tenant, scopes, stored.id), stored.secret_hash, KeyState(state), used_lately)


def note_use(session: Session, key_id: str) -> None:
    """Write down that the key was used now, unless that was done within the last minute."""
    session.execute(update(ApiKey).where(ApiKey.id == key_id, ~_used_lately()).values(last_used_at=func.now()))


def every(session: Session, tenant: str | None = None) -> Sequence[tuple[ApiKey, KeyState]]:
    """The keys of one tenant, or all, from the newest on."""
    query = select(ApiKey, _state()).order_by(ApiKey.created_at.desc(), ApiKey.id)
    if tenant is not None:
        query = query.where(ApiKey.tenant == tenant)
    return [(key, KeyState(state)) for key, state in session.execute(query)]


def revoke(session: Session, key_id: str) -> bool:
    """Make a key count no more; False if it was revoked before. Raises `NotFound`."""
    if session.get(ApiKey, key_id) is None:
        raise NotFound(f"There is no key {key_id[:50]}. `voxqueue keys list` shows those there are.")
    revoked = update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)).values(revoked_at=func.now())
    return session.scalar(revoked.returning(ApiKey.id)) is not None


def _state() -> ColumnElement[str]:
    return case(
        (ApiKey.revoked_at.is_not(None), KeyState.REVOKED.value),
        (ApiKey.expires_at <= func.now(), KeyState.EXPIRED.value),
        else_=KeyState.VALID.value,
    )


def _used_lately() -> ColumnElement[bool]:
    return func.coalesce(ApiKey.last_used_at > func.now() - _USED_LATELY, False)
