"""Event streams: who follows a job, a tenant or the fleet sees every state that matters, in order, and then an end."""

import json
import queue
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api import lasting
from api.auth import KnownKeys
from tests.integration.conftest import api_process, serving
from tests.keys import bearer, make_key
from tests.moves import claim, done, finish, move
from tests.submitting import submit
from voxqueue.database.session import Sessions
from voxqueue.fleet import EngineStatus, Fleet, StageReport, WorkerReport
from voxqueue.jobs import lifecycle, repository
from voxqueue.jobs.changes import Announcer
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.states import JobState
from voxqueue.keys import repository as keys
from voxqueue.settings import ApiSettings, RedisSettings, Settings
from voxqueue.stages import Stage

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Told:
    """One event of a stream."""

    name: str
    id: str
    body: dict[str, Any]


class Stream:
    """Reads a stream in a thread; `next` waits for its next event, `ended` for its end."""

    def __init__(self, url: str, path: str, **headers: str) -> None:
        self._events: queue.Queue[Told | None] = queue.Queue()
        self._client = httpx.Client(base_url=url, timeout=30)
        self._opened = threading.Event()
        self._connection: socket.socket
        self._thread = threading.Thread(target=self._read, args=(path, headers), daemon=True)
        self._thread.start()
        assert self._opened.wait(10), "the stream did not open"

    def _read(self, path: str, headers: dict[str, str]) -> None:
        with self._client.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            self._connection = answer.extensions["network_stream"].get_extra_info("socket")
            self._opened.set()
            fields: dict[str, str] = {}
            try:
                for line in answer.iter_lines():
                    if line and not line.startswith(":"):
                        name, _, value = line.partition(": ")
                        fields[name] = value
                    elif fields:
                        self._events.put(Told(fields["event"], fields["id"], json.loads(fields["data"])))
                        fields = {}
            except httpx.TransportError:
                pass  # closed by `close`
        self._events.put(None)

    def next(self) -> Told:
        told = self._events.get(timeout=20)
        assert told is not None, "the stream has ended"
        return told

    def ended(self) -> bool:
        return self._events.get(timeout=20) is None

    def close(self) -> None:
        """Hang up at once: closing alone says nothing to the server while the thread is reading."""
        with suppress(OSError):  # the server has hung up already
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._client.close()


@contextmanager
def following(url: str, path: str, **headers: str) -> Iterator[Stream]:
    stream = Stream(url, path, **headers)
    try:
        yield stream
    finally:
        stream.close()


@pytest.fixture
def announce(api_settings: Settings) -> Iterator[Callable[[str, JobState], None]]:
    """Says that a job has changed, as whoever changed it does."""
    announcer = Announcer(api_settings.redis)
    yield lambda job_id, state: announcer.announce(UUID(job_id), state)
    announcer.close()


def test_a_job_is_followed_from_where_it_stands_to_its_end(
    api: httpx.Client, api_url: str, sessions: Sessions, announce: Callable[[str, JobState], None]
) -> None:
    job_id = submit(api, Kind.REPLY)
    with following(api_url, f"/v1/jobs/{job_id}/events") as stream:
        first = stream.next()
        assert (first.name, first.body) == ("job", api.get(f"/v1/jobs/{job_id}").json())
        assert first.body["state"] == "queued"
        attempt = claim(sessions, job_id)
        announce(job_id, JobState.RUNNING)
        assert stream.next().body["state"] == "running"
        move(sessions, lifecycle.succeed(UUID(job_id), attempt, done(Stage.LLM)))
        announce(job_id, JobState.SUCCEEDED)
        last = stream.next()
        assert last.body == api.get(f"/v1/jobs/{job_id}").json()
        assert last.body["state"] == "succeeded"
        assert stream.ended(), "there is nothing more to tell"


def test_who_comes_back_is_not_told_the_same_again(api: httpx.Client, api_url: str, sessions: Sessions) -> None:
    job_id = submit(api, Kind.REPLY)
    finish(sessions, job_id, Kind.REPLY)
    with following(api_url, f"/v1/jobs/{job_id}/events") as stream:
        told = stream.next()
    with following(api_url, f"/v1/jobs/{job_id}/events", **{"Last-Event-ID": told.id}) as stream:
        assert stream.ended()
    with following(api_url, f"/v1/jobs/{job_id}/events", **{"Last-Event-ID": "another"}) as stream:
        assert stream.next() == told


def test_a_state_that_comes_again_is_told_again(
    api: httpx.Client, api_url: str, sessions: Sessions, announce: Callable[[str, JobState], None]
) -> None:
    """Else whoever came back with that state as the last one would take the job for running."""
    job_id = submit(api, Kind.REPLY)

    def put_back() -> None:
        move(sessions, lifecycle.put_back(UUID(job_id), claim(sessions, job_id)))

    put_back()
    with following(api_url, f"/v1/jobs/{job_id}/events") as stream:
        queued = stream.next()
    with following(api_url, f"/v1/jobs/{job_id}/events", **{"Last-Event-ID": queued.id}) as stream:
        attempt = claim(sessions, job_id)
        announce(job_id, JobState.RUNNING)
        assert stream.next().body["state"] == "running"
        move(sessions, lifecycle.put_back(UUID(job_id), attempt))
        announce(job_id, JobState.QUEUED)
        assert stream.next() == queued


def test_a_deleted_job_ends_its_stream(api: httpx.Client, api_url: str) -> None:
    job_id = submit(api, Kind.REPLY)
    with following(api_url, f"/v1/jobs/{job_id}/events") as stream:
        assert stream.next().body["state"] == "queued"
        assert api.delete(f"/v1/jobs/{job_id}").status_code == 204
        assert stream.ended()


def test_an_unknown_job_is_a_404_and_no_stream(api: httpx.Client) -> None:
    answer = api.get(f"/v1/jobs/{uuid4()}/events")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_without_redis_changes_are_seen_all_the_same(api_settings: Settings, sessions: Sessions) -> None:
    deaf = api_settings.model_copy(update={"redis": RedisSettings(url="redis://127.0.0.1:9/0")})
    with serving(deaf) as url, httpx.Client(base_url=url, timeout=20) as api:
        job_id = submit(api, Kind.REPLY)
        with following(url, f"/v1/jobs/{job_id}/events") as stream:
            assert stream.next().body["state"] == "queued"
            finish(sessions, job_id, Kind.REPLY)
            assert stream.next().body["state"] == "succeeded"


def test_a_tenant_hears_of_each_of_its_jobs(
    api: httpx.Client, api_url: str, sessions: Sessions, announce: Callable[[str, JobState], None]
) -> None:
    first, second = submit(api, Kind.REPLY), submit(api, Kind.CHAT)
    with following(api_url, "/v1/events") as stream:
        claim(sessions, first)
        told: dict[str, dict[str, Any]] = {}
        while set(told) != {first, second}:
            announce(first, JobState.RUNNING)  # again and again: the stream may not be followed yet
            announce(second, JobState.QUEUED)
            line = stream.next().body
            told[line["id"]] = line
    assert told[first] == {"id": first, "kind": "reply", "state": "running", "stage": "llm", "progress": 0}
    assert (told[second]["state"], told[second]["kind"]) == ("queued", "chat")


def test_any_number_of_jobs_can_be_told_of_at_once(api: httpx.Client, sessions: Sessions) -> None:
    """After a pause of the database many have changed, and Postgres takes no more than 65,535 parameters."""
    job_id = UUID(submit(api, Kind.REPLY))
    with sessions() as session:
        [line] = repository.lines(session, {job_id, *(uuid4() for _ in range(70_000))})
    assert (line.id, line.state, line.progress) == (job_id, JobState.QUEUED, 0)


def test_a_stranger_hears_of_none(
    api: httpx.Client, api_url: str, sessions: Sessions, announce: Callable[[str, JobState], None]
) -> None:
    strange, ours = submit(api, Kind.REPLY), submit(api, Kind.REPLY)
    with sessions.begin() as session:
        session.connection().exec_driver_sql("UPDATE jobs SET tenant = 'another' WHERE id = %s", (UUID(strange),))
    with following(api_url, "/v1/events") as stream:
        for _ in range(3):
            announce(strange, JobState.QUEUED)
            announce(ours, JobState.QUEUED)
            assert stream.next().body["id"] == ours
    assert api.get(f"/v1/jobs/{strange}/events").status_code == 404


def test_the_fleet_is_followed(api_url: str, api_settings: Settings, sessions: Sessions) -> None:
    fleet = Fleet(api_settings.redis, api_settings.worker)
    with following(api_url, "/api/ready/stream") as stream:
        told = stream.next()
        assert (told.name, told.body["ready"]) == ("ready", False)
        warm = {stage: StageReport(status=EngineStatus.READY, progress=100) for stage in Stage}
        fleet.beat(WorkerReport(worker="w@test", host="test", pid=1, stages=warm))
        while not (told := stream.next()).body["ready"]:
            pass
        fleet.leave("w@test")
        while told.body["ready"]:
            told = stream.next()
    fleet.close()


def test_a_key_that_is_revoked_ends_its_streams_and_no_others(
    api_settings: Settings, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever has stolen a key would hear of every job for as long as the connection holds."""
    monkeypatch.setattr(lasting, "LOOK_S", 0.2)
    monkeypatch.setattr(KnownKeys, "FRESH_S", 0.1)
    stolen, kept = make_key(sessions), make_key(sessions)
    keyed = api_settings.model_copy(update={"api": ApiSettings(keys="required")})
    with serving(keyed) as url, httpx.Client(base_url=url, timeout=20, headers=bearer(kept)) as api:
        path = f"/v1/jobs/{submit(api, Kind.REPLY)}/events"
        with (
            following(url, path, **bearer(stolen)) as job,
            following(url, "/v1/events", **bearer(stolen)) as tenant,
            following(url, path, **bearer(kept)) as other,
        ):
            assert job.next() == other.next()
            with sessions.begin() as session:
                keys.revoke(session, stolen.id)
            assert job.ended()
            assert tenant.ended()
            assert api.post(path.replace("events", "cancel")).status_code == 200
            assert other.next().body["state"] == "canceled"
            assert other.ended()


def test_a_key_that_expires_ends_its_stream(
    api_settings: Settings, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lasting, "LOOK_S", 0.2)
    monkeypatch.setattr(KnownKeys, "FRESH_S", 0.1)
    key = make_key(sessions, days=2 / 86_400)
    with (
        serving(api_settings.model_copy(update={"api": ApiSettings(keys="required")})) as url,
        following(url, "/v1/events", **bearer(key)) as stream,
    ):
        assert stream.ended()


def test_a_server_that_stops_ends_its_streams(api_settings: Settings, sessions: Sessions) -> None:
    with api_process(api_settings) as (url, server):
        with httpx.Client(base_url=url, timeout=20) as api:
            job_id = submit(api, Kind.REPLY)
        streams = [Stream(url, path) for path in (f"/v1/jobs/{job_id}/events", "/v1/events", "/api/ready/stream")]
        assert streams[0].next().body["state"] == "queued"
        assert streams[2].next().name == "ready"
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=20)
        assert streams[0].ended()
        assert streams[1].ended()
    assert b"Traceback" not in said
    assert b"Application shutdown complete" in said
    for stream in streams:
        stream.close()
