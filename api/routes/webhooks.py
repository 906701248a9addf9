"""Registers webhook endpoints, tests them, and changes the secrets that sign."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from api.answers import as_json
from api.dependencies import MANAGES_WEBHOOKS, Calling, Use, known_id, takes_json
from api.schemas.problems import problems
from api.schemas.webhooks import (
    WEBHOOKS_PATH,
    DeliveryView,
    EndpointBody,
    EndpointChanges,
    EndpointList,
    EndpointView,
    NewEndpoint,
    NewSecret,
    SecretList,
    delivery_path,
)
from voxqueue.webhooks import deliveries, endpoints, repository

router = APIRouter(prefix=WEBHOOKS_PATH, tags=["webhooks"], dependencies=[MANAGES_WEBHOOKS])

_NO_ROOM: dict[int | str, dict[str, Any]] = {
    409: {**problems(409)[409], "description": f"There are {endpoints.MOST_ENDPOINTS} endpoints already"}
}
_FAILED_AT_ONCE = 10_000  # what is left, couriers fail when it is due


async def _endpoint_id(endpoint_id: Annotated[str, Path(description="The endpoint's id")]) -> UUID:
    return known_id(endpoint_id, "webhook endpoint")


EndpointId = Annotated[UUID, Depends(_endpoint_id)]


@router.post(
    "/endpoints",
    status_code=201,
    response_model=NewEndpoint,
    responses={**problems(409, 415, 422, 503), **_NO_ROOM},
    dependencies=[Depends(takes_json)],
    summary="Register a webhook endpoint",
)
def create_endpoint(body: EndpointBody, services: Use, caller: Calling) -> Response:
    """Have events sent to an address. The answer holds the secret that signs them, this once."""
    endpoints.check_address("url", body.url, services.names)
    with services.transaction() as session:
        endpoint, secret = endpoints.create(
            session, caller.tenant, url=body.url, events=body.events, description=body.description
        )
    location = f"{WEBHOOKS_PATH}/endpoints/{endpoint.id}"
    return as_json(NewEndpoint.made(endpoint, secret), 201, {"Location": location})


@router.get("/endpoints", response_model=EndpointList, responses=problems(503), summary="List webhook endpoints")
def list_endpoints(services: Use, caller: Calling) -> Response:
    """All of them, the newest first."""
    with services.transaction() as session:
        found = endpoints.every(session, caller.tenant)
    return as_json(EndpointList(endpoints=[EndpointView.of(endpoint) for endpoint in found]))


@router.get(
    "/endpoints/{endpoint_id}",
    response_model=EndpointView,
    responses=problems(404, 503),
    summary="Show a webhook endpoint",
)
def show_endpoint(endpoint_id: EndpointId, services: Use, caller: Calling) -> Response:
    with services.transaction() as session:
        endpoint = endpoints.get(session, endpoint_id, caller.tenant)
    return as_json(EndpointView.of(endpoint))


@router.patch(
    "/endpoints/{endpoint_id}",
    response_model=EndpointView,
    responses=problems(404, 415, 422, 503),
    dependencies=[Depends(takes_json)],
    summary="Change a webhook endpoint",
)
def change_endpoint(endpoint_id: EndpointId, body: EndpointChanges, services: Use, caller: Calling) -> Response:
    """Change what is sent; the rest stays. Enabled again, an endpoint begins without its old failures."""
    changes = body.changes()
    if "url" in changes:
        endpoints.check_address("url", changes["url"], services.names)
    with services.transaction() as session:
        endpoint = endpoints.get(session, endpoint_id, caller.tenant, lock=True)
        endpoints.change(session, endpoint, changes)
        if not endpoint.enabled:
            repository.fail_pending(session, endpoint.id, _FAILED_AT_ONCE)
    return as_json(EndpointView.of(endpoint))


@router.delete(
    "/endpoints/{endpoint_id}", status_code=204, responses=problems(404, 503), summary="Delete a webhook endpoint"
)
def delete_endpoint(endpoint_id: EndpointId, services: Use, caller: Calling) -> Response:
    """Remove an endpoint, its secrets and its deliveries. Nothing is sent to it any more."""
    with services.transaction() as session:
        endpoint = endpoints.get(session, endpoint_id, caller.tenant, lock=True)
        endpoints.change(session, endpoint, {"enabled": False})
    more = True
    while more:
        with services.transaction() as session:
            more = endpoints.forget_deliveries(session, endpoint_id)
    with services.transaction() as session:
        endpoints.remove(session, endpoint_id)
    return Response(status_code=204)


@router.post(
    "/endpoints/{endpoint_id}/test",
    status_code=202,
    response_model=DeliveryView,
    responses=problems(404, 409, 503),
    summary="Test a webhook endpoint",
)
def test_endpoint(endpoint_id: EndpointId, services: Use, caller: Calling) -> Response:
    """Send an event `webhook_endpoint.tested` there, whatever it is told of. `Location` is where to see how it went."""
    with services.transaction() as session:
        delivery = deliveries.owe_test(session, endpoints.get(session, endpoint_id, caller.tenant))
    services.queue.ask_for_delivery()
    return as_json(DeliveryView.of(delivery), 202, {"Location": delivery_path(delivery)})


@router.post(
    "/endpoints/{endpoint_id}/rotate-secret",
    response_model=NewSecret,
    responses=problems(404, 503),
    summary="Change the secret of a webhook endpoint",
)
def rotate_endpoint_secret(endpoint_id: EndpointId, services: Use, caller: Calling) -> Response:
    """Make a new secret, shown this once. For a day, unless configured otherwise, the old one signs beside it."""
    with services.transaction() as session:
        endpoint = endpoints.get(session, endpoint_id, caller.tenant)
        overlap_s = services.settings.webhooks.rotation_s
        secret = endpoints.rotate(session, caller.tenant, endpoint.id, overlap_s=overlap_s)
    return as_json(NewSecret.made(secret))


@router.get("/secret", response_model=SecretList, responses=problems(503), summary="Show which secrets sign")
def show_secret(services: Use, caller: Calling) -> Response:
    """What signs deliveries to the `webhook_url` of single jobs; never the secrets themselves."""
    with services.transaction() as session:
        found = endpoints.valid_secrets(session, caller.tenant, None)
    return as_json(SecretList.of(found))


@router.post("/secret/rotate", response_model=NewSecret, responses=problems(503), summary="Make or change the secret")
def rotate_secret(services: Use, caller: Calling) -> Response:
    """Make a new secret for deliveries to the `webhook_url` of single jobs, shown this once; begin with this.

    For a day, unless configured otherwise, those before it sign beside it.
    """
    with services.transaction() as session:
        overlap_s = services.settings.webhooks.rotation_s
        secret = endpoints.rotate(session, caller.tenant, None, overlap_s=overlap_s)
    return as_json(NewSecret.made(secret))
