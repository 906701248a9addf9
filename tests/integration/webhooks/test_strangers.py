"""Ids that are nobody's, and endpoints and deliveries that are somebody else's."""

from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select

from tests.integration.webhooks.hooks import ADDRESS, DELIVERIES, ENDPOINTS, SECRET, TERMINAL
from tests.problems import refused
from voxqueue.database.session import Sessions
from voxqueue.webhooks.models import Delivery, Event, SigningSecret, WebhookEndpoint

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "words", ["7", "x" * 300, "{01a1fbc7-1769-7397-bca1-f96c9a1a3dff}", "2c310963-98d0-4673-91a5-db9d6f0f3308"]
)
def test_an_unknown_id_is_not_found(api: httpx.Client, words: str) -> None:
    for method, path in (
        ("GET", f"{ENDPOINTS}/{words}"),
        ("DELETE", f"{ENDPOINTS}/{words}"),
        ("POST", f"{ENDPOINTS}/{words}/test"),
        ("POST", f"{ENDPOINTS}/{words}/rotate-secret"),
        ("GET", f"{DELIVERIES}/{words}"),
        ("POST", f"{DELIVERIES}/{words}/redeliver"),
    ):
        refused(api.request(method, path), 404, "not-found")
    refused(api.patch(f"{ENDPOINTS}/{words}", json={"enabled": False}), 404, "not-found")


@pytest.fixture
def strange(sessions: Sessions) -> tuple[UUID, UUID]:
    """An endpoint and a delivery of another tenant."""
    with sessions.begin() as session:
        endpoint = WebhookEndpoint(tenant="other", url=ADDRESS, events=TERMINAL)
        session.add(endpoint)
        session.flush()
        session.add(SigningSecret(tenant="other", endpoint_id=endpoint.id, secret="whsec_c2VjcmV0"))
        session.add(SigningSecret(tenant="other", secret="whsec_c2VjcmV0"))
        event = Event(tenant="other", type="job.failed", data={})
        delivery = Delivery(event=event, endpoint_id=endpoint.id, url=ADDRESS)
        session.add(delivery)
        session.flush()
        return endpoint.id, delivery.id


def test_a_strangers_things_are_not_there(api: httpx.Client, sessions: Sessions, strange: tuple[UUID, UUID]) -> None:
    endpoint, delivery = strange
    for method, path in (
        ("GET", f"{ENDPOINTS}/{endpoint}"),
        ("DELETE", f"{ENDPOINTS}/{endpoint}"),
        ("POST", f"{ENDPOINTS}/{endpoint}/test"),
        ("POST", f"{ENDPOINTS}/{endpoint}/rotate-secret"),
        ("GET", f"{DELIVERIES}/{delivery}"),
        ("POST", f"{DELIVERIES}/{delivery}/redeliver"),
    ):
        refused(api.request(method, path), 404, "not-found")
    refused(api.patch(f"{ENDPOINTS}/{endpoint}", json={"enabled": False}), 404, "not-found")
    assert api.get(ENDPOINTS).json() == {"endpoints": []}
    assert api.get(SECRET).json() == {"secrets": []}
    for asked in ({}, {"endpoint": str(endpoint)}):
        assert api.get(DELIVERIES, params=asked).json()["deliveries"] == []
    api.post(f"{SECRET}/rotate")
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 1
        enabled, expiry = WebhookEndpoint.enabled, SigningSecret.expires_at
        assert session.scalars(select(enabled)).all() == [True]
        assert session.scalars(select(expiry).where(SigningSecret.tenant == "other")).all() == [None, None]
