"""Submissions with an Idempotency-Key, held up where a test wants them to be."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import httpx
from sqlalchemy import text

from tests.patience import until
from voxqueue.database.session import Sessions

KEY = {"Idempotency-Key": "order-4711"}
TEXT = {"text": "When do you open?", "metadata": {"a": 1, "b": [None]}}
IN_USE = "idempotency-key-in-use"
REUSED = "idempotency-key-reused"


def upload(
    url: str, note: bytes, *, name: str = "a.ogg", headers: Mapping[str, str] = KEY, **data: str
) -> httpx.Response:
    return httpx.post(f"{url}/v1/voice-notes", files={"file": (name, note)}, data=data, headers=headers, timeout=30)


def made(answer: httpx.Response, *, replayed: bool = False) -> str:
    """Check that a job was accepted, or is the one of before; returns its id."""
    assert answer.status_code == 202, answer.text
    assert answer.headers.get("idempotency-replayed") == ("true" if replayed else None)
    job_id: str = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/jobs/{job_id}"
    return job_id


@contextmanager
def nobody_adds_to(sessions: Sessions, table: str) -> Iterator[Callable[..., None]]:
    """Holds every insert into a table until the block ends; yields a function that waits until so many are held."""

    def until_held(requests: int = 1) -> None:
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = CAST(:table AS regclass)")

        def are_held() -> bool:
            with sessions() as session:
                return bool(session.scalar(waiting, {"table": table}) == requests)

        until(are_held)

    with sessions() as session:
        session.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
        yield until_held


def let_reservations_run_out(sessions: Sessions) -> None:
    """Do as if a minute had passed."""
    with sessions.begin() as session:
        session.execute(text("UPDATE idempotency_keys SET reserved_until = now() - interval '1 ms'"))


def keys(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return [row[0] for row in session.execute(text("SELECT key FROM idempotency_keys ORDER BY key"))]
