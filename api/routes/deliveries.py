"""Shows webhook deliveries, and sends one again."""

import struct
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from api import cursors
from api.answers import as_json
from api.dependencies import MANAGES_WEBHOOKS, Calling, Use, known_id
from api.schemas.problems import problems
from api.schemas.webhooks import WEBHOOKS_PATH, DeliveryDetail, DeliveryPage, DeliveryView, delivery_path
from voxqueue.webhooks import deliveries
from voxqueue.webhooks.deliveries import Place
from voxqueue.webhooks.events import DeliveryState

router = APIRouter(prefix=f"{WEBHOOKS_PATH}/deliveries", tags=["webhooks"], dependencies=[MANAGES_WEBHOOKS])

_PLACE = struct.Struct(">qq16s")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


async def _delivery_id(delivery_id: Annotated[str, Path(description="The delivery's id")]) -> UUID:
    return known_id(delivery_id, "delivery")


DeliveryId = Annotated[UUID, Depends(_delivery_id)]


@router.get("", response_model=DeliveryPage, responses=problems(422, 503), summary="List deliveries")
def list_deliveries(
    services: Use,
    caller: Calling,
    limit: Annotated[int, Query(ge=1, le=100, description="Most deliveries on the page")] = 20,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
    endpoint: Annotated[UUID | None, Query(description="Only those to this endpoint")] = None,
    job: Annotated[UUID | None, Query(description="Only those of this job")] = None,
    state: Annotated[DeliveryState | None, Query(description="Only those in this state")] = None,
) -> Response:
    """Deliveries from the newest event on, page by page."""
    after = cursors.read(cursor, _read_place)
    with services.transaction() as session:
        found = deliveries.page(
            session, caller.tenant, limit=limit + 1, after=after, endpoint_id=endpoint, job_id=job, state=state
        )
    shown = found[:limit]
    next_cursor = cursors.write(_written(deliveries.place_of(shown[-1]))) if len(found) > limit else None
    return as_json(DeliveryPage(deliveries=[DeliveryView.of(one) for one in shown], next_cursor=next_cursor))


@router.get("/{delivery_id}", response_model=DeliveryDetail, responses=problems(404, 503), summary="Show a delivery")
def show_delivery(delivery_id: DeliveryId, services: Use, caller: Calling) -> Response:
    """One delivery, every attempt at it, and what it tells."""
    with services.transaction() as session:
        delivery = deliveries.get(session, delivery_id, caller.tenant)
        attempts = deliveries.attempts_at(session, delivery)
    return as_json(DeliveryDetail.told(delivery, attempts))


@router.post(
    "/{delivery_id}/redeliver",
    status_code=202,
    response_model=DeliveryView,
    responses=problems(404, 409, 503),
    summary="Deliver again",
)
def redeliver(delivery_id: DeliveryId, services: Use, caller: Calling) -> Response:
    """Send the same event to the same receiver once more, however the delivery went. That is a delivery of its own."""
    with services.transaction() as session:
        delivery = deliveries.owe_again(session, deliveries.get(session, delivery_id, caller.tenant))
    services.queue.ask_for_delivery()
    return as_json(DeliveryView.of(delivery), 202, {"Location": delivery_path(delivery)})


def _written(place: Place) -> bytes:
    position, created_at, delivery_id = place
    return _PLACE.pack(position, (created_at - _EPOCH) // _TICK, delivery_id.bytes)


def _read_place(written: bytes) -> Place:
    position, ticks, bytes_of_id = _PLACE.unpack(written)
    return position, _EPOCH + ticks * _TICK, UUID(bytes=bytes_of_id)
