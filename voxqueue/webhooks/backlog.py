"""How much is owed to webhook endpoints, all tenants together, for those who run the couriers."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Backlog:
    """Deliveries that have not ended, those of them that could be sent now, and the seconds that the longest of these
    has waited; and the endpoints that take deliveries, or are disabled."""

    pending: int
    due: int
    oldest_due_s: float
    endpoints_enabled: int
    endpoints_disabled: int


_BACKLOG = text("""
    SELECT count(*) AS pending, count(*) FILTER (WHERE is_due) AS due,
        coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE is_due)), 0)::float8 AS oldest_due_s,
        (SELECT count(*) FROM webhook_endpoints WHERE enabled) AS endpoints_enabled,
        (SELECT count(*) FROM webhook_endpoints WHERE NOT enabled) AS endpoints_disabled
    FROM (
        SELECT due_at, due_at <= now() AND (lease_until IS NULL OR lease_until < now()) AS is_due
        FROM deliveries WHERE state = 'pending'
    ) AS deliveries
""")


def backlog(session: Session) -> Backlog:
    """Count what is owed. Reads every pending delivery."""
    return Backlog(**session.execute(_BACKLOG).mappings().one())
