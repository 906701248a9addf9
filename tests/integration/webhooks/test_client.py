"""Webhooks through the client."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.integration.webhooks.hooks import ADDRESS
from tests.moves import claim, done, finish, move
from tests.recordings import recording, tone
from voxqueue.client import Client
from voxqueue.database.session import Sessions
from voxqueue.jobs import lifecycle
from voxqueue.jobs.kinds import Kind
from voxqueue.stages import Stage

pytestmark = pytest.mark.integration


@pytest.fixture
def client(api_url: str, sessions: Sessions) -> Iterator[Client]:
    with Client(api_url, timeout=20) as client:
        yield client


def test_the_client_manages_endpoints(client: Client) -> None:
    hooks = client.webhooks
    made = hooks.create(ADDRESS, events=["job.failed"], description="mine")
    assert made.secret is not None
    assert (made.events, made.description) == (("job.failed",), "mine")
    assert [one.id for one in hooks.endpoints()] == [made.id]
    assert hooks.change(made.id, enabled=False).enabled is False
    assert hooks.endpoint(made.id).secret is None
    assert hooks.rotate_secret(made.id).secret != made.secret
    of_jobs = hooks.rotate_secret()
    assert [one.id for one in hooks.secrets()] == [of_jobs.id]
    hooks.delete(made.id)
    assert hooks.endpoints() == ()


def test_the_client_walks_over_deliveries(client: Client, sessions: Sessions) -> None:
    hooks = client.webhooks
    endpoint = hooks.create(ADDRESS)
    job = client.send_text("Hello.", kind="reply", webhook_url=ADDRESS, webhook_events=["job.started", "job.succeeded"])
    note = client.send_note(
        recording(tone(1), 16_000, "ogg"), webhook_url=ADDRESS, webhook_events=["job.started", "job.failed"]
    )
    attempt = claim(sessions, note.id)
    move(sessions, lifecycle.hand_over(UUID(note.id), attempt, done(Stage.STT), Stage.LLM))
    finish(sessions, job.id, Kind.REPLY)
    tested = hooks.test(endpoint.id)
    walked = list(hooks.deliveries(page_size=2))
    assert walked[0].event.type == "webhook_endpoint.tested"
    assert len(walked) == 5
    assert [one.event.type for one in hooks.deliveries(job=note.id)] == ["job.started"]
    assert {one.endpoint_id for one in hooks.deliveries(endpoint=endpoint.id)} == {endpoint.id}
    assert list(hooks.deliveries(state="failed")) == []
    assert hooks.delivery(tested.id).data == {"endpoint_id": endpoint.id}
    assert hooks.redeliver(tested.id).event == tested.event
