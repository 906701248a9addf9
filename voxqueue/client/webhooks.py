"""The part of the client that speaks of webhooks: endpoints, the secrets that sign, and deliveries."""

from collections.abc import Iterator, Sequence
from typing import Any

from voxqueue.client.paths import path_of
from voxqueue.client.webhook_answers import Delivery, DeliveryPage, Endpoint, EndpointList, Secret, SecretList
from voxqueue.client.wire import Wire, given

_ENDPOINTS = "/v1/webhooks/endpoints"
_DELIVERIES = "/v1/webhooks/deliveries"
_SECRET = "/v1/webhooks/secret"  # noqa: S105 - a path


class Webhooks:
    """What an API can be asked about webhooks; it is `Client.webhooks`, whose errors its methods raise."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    # --- endpoints ----------------------------------------------------------------------------------------------------

    def create(self, url: str, *, events: Sequence[str] | None = None, description: str | None = None) -> Endpoint:
        """Register an address. Keep the answer's `secret`: it is shown this once.

        Args:
            url: Where to send to.
            events: What it is told of, such as ``job.succeeded``; None leaves the choice to the API.
            description: Yours to use.
        """
        members = {"url": url, "events": None if events is None else list(events), "description": description}
        return self._wire.read(Endpoint, self._wire.ask("POST", _ENDPOINTS, json=given(members)))

    def endpoints(self) -> tuple[Endpoint, ...]:
        """All of them, the newest first."""
        return self._wire.read(EndpointList, self._wire.ask("GET", _ENDPOINTS)).endpoints

    def endpoint(self, endpoint_id: str) -> Endpoint:
        return self._wire.read(Endpoint, self._wire.ask("GET", _endpoint(endpoint_id)))

    def change(self, endpoint_id: str, **changes: Any) -> Endpoint:
        """Change an endpoint's `url`, `events`, `description` or `enabled`; what is not given stays."""
        return self._wire.read(Endpoint, self._wire.ask("PATCH", _endpoint(endpoint_id), json=changes))

    def delete(self, endpoint_id: str) -> None:
        """Remove an endpoint, its secrets and its deliveries."""
        self._wire.ask("DELETE", _endpoint(endpoint_id))

    def test(self, endpoint_id: str) -> Delivery:
        """Send an event ``webhook_endpoint.tested`` there; `delivery` of the answer's id shows how it went."""
        return self._wire.read(Delivery, self._wire.ask("POST", f"{_endpoint(endpoint_id)}/test"))

    # --- secrets ------------------------------------------------------------------------------------------------------

    def rotate_secret(self, endpoint_id: str | None = None) -> Secret:
        """Make a new secret, shown this once: an endpoint's, or the one for the `webhook_url` of single jobs."""
        path = f"{_SECRET}/rotate" if endpoint_id is None else f"{_endpoint(endpoint_id)}/rotate-secret"
        return self._wire.read(Secret, self._wire.ask("POST", path))

    def secrets(self) -> tuple[Secret, ...]:
        """What signs deliveries to the `webhook_url` of single jobs, without the secrets themselves."""
        return self._wire.read(SecretList, self._wire.ask("GET", _SECRET)).secrets

    # --- deliveries ---------------------------------------------------------------------------------------------------

    def deliveries(
        self,
        *,
        endpoint: str | None = None,
        job: str | None = None,
        state: str | None = None,
        page_size: int | None = None,
    ) -> Iterator[Delivery]:
        """Walk over all deliveries from the newest event on, fetching pages as they are needed.

        Args:
            endpoint: Only those to the endpoint of this id.
            job: Only those of the job of this id.
            state: ``pending``, ``succeeded`` or ``failed``.
            page_size: How many to fetch at a time.
        """
        asked = {"endpoint": endpoint, "job": job, "state": state, "limit": page_size, "cursor": None}
        while True:
            page = self._wire.read(DeliveryPage, self._wire.ask("GET", _DELIVERIES, params=given(asked)))
            yield from page.deliveries
            if page.next_cursor is None:
                return
            asked["cursor"] = page.next_cursor

    def delivery(self, delivery_id: str) -> Delivery:
        """One delivery, with every attempt at it and the data that it tells."""
        return self._wire.read(Delivery, self._wire.ask("GET", _delivery(delivery_id)))

    def redeliver(self, delivery_id: str) -> Delivery:
        """Send the same event to the same receiver once more; the answer is the new delivery."""
        return self._wire.read(Delivery, self._wire.ask("POST", f"{_delivery(delivery_id)}/redeliver"))


def _endpoint(endpoint_id: str) -> str:
    return path_of(_ENDPOINTS, endpoint_id, "endpoint")


def _delivery(delivery_id: str) -> str:
    return path_of(_DELIVERIES, delivery_id, "delivery")
