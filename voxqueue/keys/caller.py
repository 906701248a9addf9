"""Who a request comes from and what they may do. A plain value; how it is found out is the edge's business."""

from dataclasses import dataclass
from enum import StrEnum

DEFAULT_TENANT = "default"


class Scope(StrEnum):
    """What a key allows. `ADMIN` allows everything."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    WEBHOOKS = "webhooks"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sends a request. `key_id` is None where the API asks for no keys."""

    tenant: str
    scopes: frozenset[Scope]
    key_id: str | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


ANYBODY = Caller(DEFAULT_TENANT, frozenset(Scope))
"""The one caller of an API that asks for no keys."""
