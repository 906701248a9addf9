"""What goes over the wire of webhooks: endpoints, secrets and deliveries."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, WithJsonSchema

from api.schemas import examples
from api.schemas.jobs import Utc
from voxqueue.webhooks.endpoints import DESCRIPTION_CHARS, ENDPOINT_EVENTS, Changes
from voxqueue.webhooks.events import JOB_EVENTS, TERMINAL_EVENTS, DeliveryState, EventType
from voxqueue.webhooks.models import Delivery, DeliveryAttempt, SigningSecret, WebhookEndpoint
from voxqueue.webhooks.signing import message_id

WEBHOOKS_PATH = "/v1/webhooks"


def _events(allowed: Sequence[EventType], *, in_text: bool = False) -> tuple[BeforeValidator, WithJsonSchema]:
    """Some of the events, each counted once, in a check and in its documentation. In a text, commas divide them."""
    words = [one.value for one in allowed]

    def check(value: object) -> object:
        if not isinstance(value, list):
            return value
        named = [part.strip() for text in value for part in text.split(",")] if in_text else value
        for word in named:
            if word not in words:
                raise ValueError(f"{word!r:.50} is none of {', '.join(words)}")
        if not named:
            raise ValueError("names no event; leave it out for the usual ones")
        return list(dict.fromkeys(named))

    shown = {"type": "array", "items": {"type": "string", "enum": words}, "minItems": 1}
    return BeforeValidator(check), WithJsonSchema({"type": "string"} if in_text else shown)


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return text


JobEvents = Annotated[list[EventType], *_events(JOB_EVENTS)]
JobEventsText = Annotated[list[EventType], *_events(JOB_EVENTS, in_text=True)]
EndpointEvents = Annotated[list[EventType], *_events(ENDPOINT_EVENTS)]
Address = Annotated[str, Field(description="Where to send to: an `https` address")]
Description = Annotated[str, Field(max_length=DESCRIPTION_CHARS, description="Yours to use"), AfterValidator(_no_nul)]


# --- endpoints --------------------------------------------------------------------------------------------------------


class EndpointBody(BaseModel):
    """An address to register."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [examples.ENDPOINT]})

    url: Address
    events: EndpointEvents = Field(
        default_factory=lambda: list(TERMINAL_EVENTS),
        description="What it is told of; else of every job that has succeeded, failed or been canceled",
    )
    description: Description | None = None


class EndpointChanges(BaseModel):
    """What is to be otherwise; what is missing stays."""

    model_config = ConfigDict(extra="forbid")

    url: Address = Field(default_factory=str, description="What is still owed goes there too")
    events: EndpointEvents = Field(default_factory=list, description="All that it is to be told of from now on")
    description: Description | None = None
    enabled: StrictBool = Field(
        default_factory=bool, description="`false` fails what is still owed; `true` begins without old failures"
    )

    def changes(self) -> Changes:
        """Those that were sent; the defaults above mean nothing."""
        sent: Changes = self.model_dump(exclude_unset=True)  # type: ignore[assignment]
        return sent


class EndpointView(BaseModel):
    """A registered address."""

    id: UUID
    url: str
    events: list[EventType]
    description: str | None
    enabled: bool
    disabled_reason: str | None = Field(description="Why we disabled it; null where you did")
    failing_since: Utc | None = Field(description="The first failure that nothing has succeeded after")
    created_at: Utc

    @classmethod
    def of(cls, endpoint: WebhookEndpoint) -> Self:
        return cls(**_members(endpoint))


class NewEndpoint(EndpointView):
    """A registered address, and once only the secret that signs for it."""

    secret: str = Field(description="Keep it: it is not shown again")

    @classmethod
    def made(cls, endpoint: WebhookEndpoint, secret: SigningSecret) -> Self:
        return cls(**_members(endpoint), secret=secret.secret)


class EndpointList(BaseModel):
    """All endpoints, the newest first."""

    endpoints: list[EndpointView]


def _members(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {name: getattr(endpoint, name) for name in EndpointView.model_fields}


# --- secrets ----------------------------------------------------------------------------------------------------------


class SecretView(BaseModel):
    """A secret that signs, without the secret itself."""

    id: UUID
    created_at: Utc
    expires_at: Utc | None = Field(description="Until when it signs beside its successor; null for the newest")


class SecretList(BaseModel):
    """The secrets that sign now, the newest first. Empty until one is made or needed."""

    secrets: list[SecretView]

    @classmethod
    def of(cls, found: Iterable[SigningSecret]) -> Self:
        return cls(secrets=[SecretView(id=it.id, created_at=it.created_at, expires_at=it.expires_at) for it in found])


class NewSecret(SecretView):
    """A new secret, shown this once."""

    secret: str = Field(description="Keep it: it is not shown again")

    @classmethod
    def made(cls, secret: SigningSecret) -> Self:
        return cls(id=secret.id, created_at=secret.created_at, expires_at=secret.expires_at, secret=secret.secret)


# --- deliveries -----------------------------------------------------------------------------------------------------


class EventView(BaseModel):
    """What has happened."""

    id: str = Field(description="What `webhook-id` says, the same in every attempt and delivery")
    type: EventType
    sequence: int = Field(description="Grows with each event")
    job_id: UUID | None
    created_at: Utc


class AttemptView(BaseModel):
    """One POST, or why there was none."""

    number: int
    started_at: Utc
    duration_ms: float
    status: int | None = Field(description="Of the answer; null where there was none")
    error: str | None
    answer: str | None = Field(description="Its first characters")

    @classmethod
    def of(cls, attempt: DeliveryAttempt) -> Self:
        return cls(**{name: getattr(attempt, name) for name in cls.model_fields})


class DeliveryView(BaseModel):
    """An event that is, or was, owed to one receiver."""

    id: UUID
    event: EventView
    endpoint_id: UUID | None = Field(description="Null where the address came with the job")
    url: str
    state: DeliveryState
    attempt_count: int
    last_attempt: AttemptView | None
    next_attempt_at: Utc | None
    created_at: Utc
    finished_at: Utc | None

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        return cls(**_delivered(delivery))


class DeliveryDetail(DeliveryView):
    """A delivery with all that was tried, and what is told."""

    attempts: list[AttemptView]
    data: dict[str, Any] = Field(description="What the body of the POST has as `data`")

    @classmethod
    def told(cls, delivery: Delivery, attempts: Iterable[DeliveryAttempt]) -> Self:
        return cls(
            **_delivered(delivery),
            attempts=[AttemptView.of(attempt) for attempt in attempts],
            data=delivery.event.data,
        )


class DeliveryPage(BaseModel):
    """Deliveries from the newest event on."""

    deliveries: list[DeliveryView]
    next_cursor: str | None = Field(description="What to send as `cursor` for the next page; null on the last one")


def delivery_path(delivery: Delivery) -> str:
    return f"{WEBHOOKS_PATH}/deliveries/{delivery.id}"


def _delivered(delivery: Delivery) -> dict[str, Any]:
    event = delivery.event
    return {
        "id": delivery.id,
        "event": EventView(
            id=message_id(event.id),
            type=EventType(event.type),
            sequence=event.position,
            job_id=event.job_id,
            created_at=event.created_at,
        ),
        "endpoint_id": delivery.endpoint_id,
        "url": delivery.url,
        "state": delivery.state,
        "attempt_count": delivery.attempts,
        "last_attempt": None if delivery.last_attempt is None else AttemptView.of(delivery.last_attempt),
        "next_attempt_at": delivery.due_at if delivery.state is DeliveryState.PENDING else None,
        "created_at": delivery.created_at,
        "finished_at": delivery.finished_at,
    }
