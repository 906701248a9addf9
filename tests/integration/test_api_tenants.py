"""What belongs to one tenant is not there for another: a crawl of every route, by the API's own description."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.app import create_app
from tests.integration.conftest import serving
from tests.keys import TEXT, bearer, make_key
from tests.recordings import recording, tone
from voxqueue.database.session import Sessions
from voxqueue.settings import ApiSettings, Settings

pytestmark = pytest.mark.integration

JSON = "application/json"
# What an operation has to be sent before it looks for the thing that its path names.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("patch", "/v1/webhooks/endpoints/{endpoint_id}"): {"enabled": False},
}
# These stay open; they have tests of their own here.
STREAMS = {"/v1/jobs/{job_id}/events", "/v1/events"}
# These are about the whole service, and for those who run it; they too have a test of their own.
OF_THE_SERVICE = {"/api/operations", "/api/ready/history", "/api/system/info", "/metrics"}
NO_LISTS = STREAMS | OF_THE_SERVICE | {"/v1/voices"}
Operation = tuple[str, str, dict[str, Any]]


def operations() -> list[Operation]:
    """Every operation that needs a key: method, path, and its description."""
    paths = create_app(Settings()).openapi()["paths"]
    return [
        (method, path, operation)
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "security" in operation
    ]


OF_A_THING = [(method, path) for method, path, _ in operations() if "{" in path]
LISTS = [it for it in operations() if it[0] == "get" and "{" not in it[1] and it[1] not in NO_LISTS]


@pytest.fixture(scope="module")
def url(api_settings: Settings) -> Iterator[str]:
    with serving(api_settings.model_copy(update={"api": ApiSettings(keys="required")})) as url:
        yield url


@pytest.fixture
def owner(url: str, sessions: Sessions) -> Iterator[httpx.Client]:
    """The tenant who has things."""
    with httpx.Client(base_url=url, headers=bearer(make_key(sessions, tenant="owner")), timeout=20) as client:
        yield client


@pytest.fixture
def stranger(url: str, sessions: Sessions) -> Iterator[httpx.Client]:
    """Another tenant, whose key may do everything."""
    with httpx.Client(base_url=url, headers=bearer(make_key(sessions, tenant="stranger")), timeout=20) as client:
        yield client


@pytest.fixture
def things(owner: httpx.Client) -> dict[str, str]:
    """One of each thing that the owner can have, by the name of its id in paths.

    Whoever adds a kind of thing adds it here: the crawl fails for a name that is missing.
    """
    made = owner.post("/v1/voice-notes", files={"file": recording(tone(1.5), 16_000, "ogg")})
    registered = owner.post("/v1/webhooks/endpoints", json={"url": "https://hooks.example.com/owner"})
    owed = owner.post(f"/v1/webhooks/endpoints/{registered.json()['id']}/test")
    owner.post("/v1/webhooks/secret/rotate")
    for answer in (made, registered, owed):
        assert answer.is_success, answer.text
    return {"job_id": made.json()["id"], "endpoint_id": registered.json()["id"], "delivery_id": owed.json()["id"]}


def ask(client: httpx.Client, method: str, path: str, ids: dict[str, str]) -> tuple[int, str, Any]:
    """The status, the media type and, where there is one, the JSON body; of a stream only that it began."""
    body = BODIES.get((method, path))
    content = None if body is None else json.dumps(body)
    headers = {"Content-Type": JSON} if body is not None else {}
    with client.stream(method, path.format_map(ids), content=content, headers=headers) as answer:
        media_type = answer.headers.get("content-type", "")
        return answer.status_code, media_type, json.loads(answer.read()) if "json" in media_type else None


@pytest.mark.parametrize(("method", "path"), OF_A_THING)
def test_a_strangers_thing_is_no_thing(
    owner: httpx.Client, stranger: httpx.Client, things: dict[str, str], method: str, path: str
) -> None:
    """The very answer for what was never there, and it changes nothing."""
    before = _seen_by(owner, things)
    nothing = {name: str(uuid4()) for name in things}
    status, media_type, told = ask(stranger, method, path, things)
    assert (status, media_type) == (404, "application/problem+json"), told
    expected = ask(stranger, method, path, nothing)[2]
    for name, thing in things.items():
        expected = json.loads(json.dumps(expected).replace(nothing[name], thing))
    assert told == expected
    assert _seen_by(owner, things) == before
    status, _, told = ask(owner, method, path, things)
    assert status not in (401, 403, 404, 405, 422), f"the crawl does not ask for what is there: {told}"


def _seen_by(client: httpx.Client, things: dict[str, str]) -> dict[str, Any]:
    """All that a tenant can ask for, by address."""
    paths = [path for method, path in OF_A_THING if method == "get" and path not in STREAMS]
    paths += [path for _, path, _ in LISTS]
    return {path: ask(client, "get", path, things) for path in paths}


@pytest.mark.parametrize(("path", "operation"), [(path, operation) for _, path, operation in LISTS])
def test_a_list_shows_a_tenant_its_own_things_alone(
    owner: httpx.Client, stranger: httpx.Client, things: dict[str, str], path: str, operation: dict[str, Any]
) -> None:
    filters = {it["name"] for it in operation.get("parameters", ()) if it["in"] == "query"}
    asked = [{name: things[f"{name}_id"]} for name in filters if f"{name}_id" in things]
    theirs = [stranger.get(path, params=params) for params in ({}, *asked)]
    for answer in theirs:
        assert answer.status_code == 200, answer.text
        assert not [name for name, thing in things.items() if thing in answer.text]
        assert "hooks.example.com" not in answer.text
    assert owner.get(path).json() != theirs[0].json(), "the owner has something to be seen here"


@pytest.mark.parametrize("path", sorted(OF_THE_SERVICE))
def test_what_is_about_the_service_names_nothing_of_a_tenant(
    stranger: httpx.Client, things: dict[str, str], path: str
) -> None:
    told = stranger.get(path)
    assert told.status_code == 200
    assert not [name for name, thing in things.items() if thing in told.text]
    assert "hooks.example.com" not in told.text
    assert "owner" not in told.text


def test_a_cursor_of_another_tenant_leads_to_nothing_of_theirs(
    owner: httpx.Client, stranger: httpx.Client, sessions: Sessions
) -> None:
    for _ in range(3):
        owner.post("/v1/texts", json=TEXT)
    cursor = owner.get("/v1/jobs", params={"limit": 1}).json()["next_cursor"]
    assert len(owner.get("/v1/jobs", params={"cursor": cursor}).json()["jobs"]) == 2
    assert stranger.get("/v1/jobs", params={"cursor": cursor}).json()["jobs"] == []


def test_keys_of_one_tenant_share_its_things(url: str, owner: httpx.Client, sessions: Sessions) -> None:
    job = owner.post("/v1/texts", json=TEXT).headers["location"]
    assert httpx.get(f"{url}{job}", headers=bearer(make_key(sessions, tenant="owner"))).status_code == 200


def test_an_idempotency_key_is_its_tenants(owner: httpx.Client, stranger: httpx.Client) -> None:
    """Else one tenant could fetch the job of another by guessing a name."""
    one, two = (client.post("/v1/texts", json=TEXT, headers={"Idempotency-Key": "1"}) for client in (owner, stranger))
    assert (one.status_code, two.status_code) == (202, 202)
    assert one.json()["id"] != two.json()["id"]


def test_a_stream_of_jobs_tells_of_ones_own_alone(owner: httpx.Client, stranger: httpx.Client) -> None:
    with stranger.stream("GET", "/v1/events") as stream:
        theirs = owner.post("/v1/texts", json=TEXT).json()
        owner.post(f"/v1/jobs/{theirs['id']}/cancel")
        own = stranger.post("/v1/texts", json=TEXT).json()
        stranger.post(f"/v1/jobs/{own['id']}/cancel")
        told = next(line for line in stream.iter_lines() if line.startswith("data:"))
    assert own["id"] in told
    assert theirs["id"] not in told
