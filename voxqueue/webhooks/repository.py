"""The couriers' queries: what is due, and what came of it, each with a sentence. All times are the database's.

The caller commits. What a tenant sees of the same rows is the business of `endpoints` and `deliveries`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from voxqueue.webhooks import endpoints
from voxqueue.webhooks.events import DeliveryState, EventType
from voxqueue.webhooks.schedule import GONE, Attempt, Verdict

DISABLED = "The endpoint is disabled."

_GONE = "It answered 410 Gone."
_ONLY_FAILED = "Nothing but failures for too long: every attempt since {since:%Y-%m-%d %H:%M} UTC has failed."


@dataclass(frozen=True, slots=True)
class Owed:
    """A delivery that a courier has claimed, and all that it needs for one attempt.

    `attempts` counts those made before. `lease_until` tells this claim from any other, `claimed_at` is when
    it was made. `is_disabled`: its endpoint takes nothing any more. `secrets` has what is valid now, the newest first.
    `traceparent` is the span that the event's job was submitted in, where that is still there.
    """

    id: UUID
    url: str
    host: str
    attempts: int
    lease_until: datetime
    claimed_at: datetime
    endpoint_id: UUID | None
    is_disabled: bool
    event_id: UUID
    tenant: str
    type: str
    sequence: int
    created_at: datetime
    data: dict[str, Any]
    traceparent: str | None
    secrets: tuple[str, ...]


# Host by host, with as many of each as it may have: however much has piled up for one, the others cost the same. An
# event of a job waits for an earlier one to the same receiver that nobody has tried yet or that is under way (by
# `finished_at`, since by `state` the planner might read all that is pending to find it).
_CLAIM = text("""
    WITH RECURSIVE hosts AS (
        (SELECT host FROM deliveries WHERE state = 'pending' ORDER BY host LIMIT 1)
        UNION ALL
        SELECT (
            SELECT next.host FROM deliveries AS next
            WHERE next.state = 'pending' AND next.host > hosts.host ORDER BY next.host LIMIT 1)
        FROM hosts WHERE hosts.host IS NOT NULL
    ), due AS MATERIALIZED (
        SELECT candidate.id
        FROM hosts CROSS JOIN LATERAL (
            SELECT deliveries.id, deliveries.due_at
            FROM deliveries JOIN events ON events.id = deliveries.event_id
            WHERE deliveries.state = 'pending' AND deliveries.host = hosts.host AND deliveries.due_at <= now()
                AND (deliveries.lease_until IS NULL OR deliveries.lease_until < now())
                AND NOT EXISTS (
                    SELECT FROM events AS before JOIN deliveries AS earlier ON earlier.event_id = before.id
                    WHERE before.job_id = events.job_id AND before.position < events.position
                        AND earlier.finished_at IS NULL AND (earlier.attempts = 0 OR earlier.lease_until >= now())
                        AND earlier.endpoint_id IS NOT DISTINCT FROM deliveries.endpoint_id
                        AND earlier.url = deliveries.url)
            ORDER BY deliveries.due_at
            LIMIT coalesce(CAST(CAST(:rooms AS jsonb) ->> hosts.host AS int), 1)
        ) AS candidate
        ORDER BY candidate.due_at LIMIT :limit
    ), locked AS MATERIALIZED (
        SELECT id, endpoint_id FROM deliveries
        WHERE id IN (SELECT id FROM due) AND state = 'pending' AND (lease_until IS NULL OR lease_until < now())
        FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE deliveries SET lease_until = now() + make_interval(secs => :lease_s),
            -- Whoever owed it while the endpoint's address was changed may have read the old one.
            url = coalesce(webhook_endpoints.url, deliveries.url)
        FROM locked LEFT JOIN webhook_endpoints ON webhook_endpoints.id = locked.endpoint_id
        WHERE deliveries.id = locked.id
        RETURNING deliveries.*
    )
    SELECT claimed.id, claimed.url, claimed.host, claimed.attempts, claimed.lease_until, now() AS claimed_at,
        claimed.endpoint_id, coalesce(NOT webhook_endpoints.enabled, false) AS is_disabled, events.id AS event_id,
        events.tenant, events.type, events.position AS sequence, events.created_at, events.data, jobs.traceparent
    FROM claimed JOIN events ON events.id = claimed.event_id
    LEFT JOIN jobs ON jobs.id = events.job_id
    LEFT JOIN webhook_endpoints ON webhook_endpoints.id = claimed.endpoint_id
    ORDER BY claimed.due_at, events.position
""")


def claim(session: Session, *, limit: int, rooms: Mapping[str, int], lease_s: float, rotation_s: float) -> list[Owed]:
    """Take deliveries that are due, the longest waiting first. A tenant without a secret for the addresses of single
    jobs gets one.

    Args:
        session: The caller commits, and only then sends.
        limit: How many at most.
        rooms: How many at most for each of these hosts; for any other it is one.
        lease_s: How long nobody else may take them.
        rotation_s: If two couriers give a tenant its first secret at the same time, how long both sign.
    """
    rows = session.execute(_CLAIM, {"limit": limit, "rooms": json.dumps(dict(rooms)), "lease_s": lease_s}).mappings()
    secrets: dict[tuple[str, UUID | None], tuple[str, ...]] = {}
    claimed = []
    for row in rows.all():
        signer = row["tenant"], row["endpoint_id"]
        if signer not in secrets:
            secrets[signer] = _secrets(session, *signer, rotation_s)
        claimed.append(Owed(**row, secrets=secrets[signer]))
    return claimed


def _secrets(session: Session, tenant: str, endpoint_id: UUID | None, rotation_s: float) -> tuple[str, ...]:
    valid = endpoints.valid_secrets(session, tenant, endpoint_id)
    if not valid and endpoint_id is None:
        valid = [endpoints.rotate(session, tenant, None, overlap_s=rotation_s)]
    return tuple(one.secret for one in valid)


# An attempt is written down whatever has become of the delivery meanwhile; the delivery itself is settled only by
# whoever still holds it.
_RECORD = text("""
    WITH held AS (
        SELECT id, state = 'pending' AND lease_until = :lease_until AS still FROM deliveries WHERE id = :id FOR UPDATE
    ), settled AS (
        UPDATE deliveries SET
            attempts = deliveries.attempts + 1,
            state = CASE WHEN still THEN :state ELSE state END,
            due_at = CASE WHEN still AND :state = 'pending' THEN now() + make_interval(secs => :due_in_s)
                ELSE due_at END,
            lease_until = CASE WHEN still THEN NULL ELSE lease_until END,
            finished_at = CASE WHEN still AND :state <> 'pending' THEN now() ELSE finished_at END
        FROM held WHERE deliveries.id = held.id
        RETURNING deliveries.id, deliveries.attempts
    )
    INSERT INTO delivery_attempts (delivery_id, number, started_at, duration_ms, status, error, answer)
    SELECT id, attempts, :started_at, :duration_ms, :status, :error, :answer FROM settled
""")


def record(session: Session, owed: Owed, attempt: Attempt, decided: Verdict, *, disable_after_s: float) -> bool:
    """Write down an attempt and what comes after it. True: the endpoint is disabled from now on, because of it.

    The endpoint's row comes first, as for whoever deletes it: two that wait for each other would both fail.
    """
    disables, takes_more = False, True
    if owed.endpoint_id is not None and not owed.is_disabled:
        disables, takes_more = _judge(session, owed.endpoint_id, attempt, disable_after_s)
    state = decided.state if takes_more or attempt.succeeded else DeliveryState.FAILED
    session.execute(
        _RECORD,
        {
            "id": owed.id,
            "lease_until": owed.lease_until,
            "state": state.value,
            "due_in_s": decided.due_in_s,
            "started_at": owed.claimed_at,
            "duration_ms": attempt.duration_ms,
            "status": attempt.status,
            "error": attempt.error,
            "answer": attempt.answer,
        },
    )
    return disables


_SUCCEEDED = text("""
    UPDATE webhook_endpoints SET failing_since = NULL WHERE id = :id AND failing_since IS NOT NULL
""")
_FAILED = text("""
    UPDATE webhook_endpoints SET failing_since = coalesce(failing_since, now()) WHERE id = :id
    RETURNING enabled, failing_since, failing_since <= now() - make_interval(secs => :disable_after_s)
""")


def _judge(session: Session, endpoint_id: UUID, attempt: Attempt, disable_after_s: float) -> tuple[bool, bool]:
    """What an attempt means for its endpoint: whether it is disabled by it, and whether it takes anything more."""
    if attempt.succeeded:
        session.execute(_SUCCEEDED, {"id": endpoint_id})
        return False, True
    found = session.execute(_FAILED, {"id": endpoint_id, "disable_after_s": disable_after_s}).one_or_none()
    if found is None or not found[0]:
        return False, False
    _, since, is_too_long = found
    if attempt.status == GONE:
        _disable(session, endpoint_id, _GONE)
    elif is_too_long:
        _disable(session, endpoint_id, _ONLY_FAILED.format(since=since.astimezone(UTC)))
    else:
        return False, True
    return True, False


_DISABLE = text("""
    WITH disabled AS (
        UPDATE webhook_endpoints SET enabled = false, disabled_reason = :reason WHERE id = :id
        RETURNING id, tenant
    ), receivers AS (
        SELECT webhook_endpoints.id, webhook_endpoints.url
        FROM webhook_endpoints JOIN disabled USING (tenant)
        WHERE webhook_endpoints.id <> disabled.id AND webhook_endpoints.enabled AND webhook_endpoints.events ? :type
    ), told AS (  -- what nobody is to be told of is no event
        INSERT INTO events (tenant, type, data)
        SELECT tenant, :type, jsonb_build_object('endpoint_id', id, 'reason', CAST(:reason AS text))
        FROM disabled WHERE EXISTS (SELECT FROM receivers)
        RETURNING id
    )
    INSERT INTO deliveries (event_id, endpoint_id, url) SELECT told.id, receivers.id, receivers.url FROM told, receivers
""")


def _disable(session: Session, endpoint_id: UUID, reason: str) -> None:
    """Disable an endpoint; the tenant's others that want to know are owed an event of it."""
    parameters = {"id": endpoint_id, "reason": reason, "type": EventType.ENDPOINT_DISABLED.value}
    session.execute(_DISABLE, parameters)


_FAIL_PENDING = text("""
    WITH left_over AS (
        SELECT deliveries.id, disabled_reason
        FROM deliveries JOIN webhook_endpoints ON webhook_endpoints.id = deliveries.endpoint_id
        WHERE endpoint_id = :endpoint_id AND NOT enabled AND state = 'pending'
            AND (lease_until IS NULL OR lease_until < now())
        LIMIT :limit FOR UPDATE OF deliveries SKIP LOCKED
    ), failed AS (
        UPDATE deliveries SET state = 'failed', finished_at = now(), lease_until = NULL, attempts = attempts + 1
        FROM left_over WHERE deliveries.id = left_over.id
        RETURNING deliveries.id, attempts, disabled_reason
    )
    INSERT INTO delivery_attempts (delivery_id, number, started_at, duration_ms, error)
    SELECT id, attempts, now(), 0, CAST(:error AS text) || coalesce(' ' || disabled_reason, '') FROM failed
    RETURNING delivery_id
""")


def fail_pending(session: Session, endpoint_id: UUID, limit: int) -> int:
    """End what is still owed to a disabled endpoint, with its reason; how many these were. What is under way is left
    to its courier."""
    parameters = {"endpoint_id": endpoint_id, "limit": limit, "error": DISABLED}
    return len(session.execute(_FAIL_PENDING, parameters).all())
