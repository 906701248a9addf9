"""`Prefer: wait`: who waits is answered as soon as the job has finished, and holds up nobody meanwhile."""

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
import redis
from fastapi import FastAPI

from api.app import create_app
from tests.integration.conftest import LIMITS, api_process, serving, serving_app
from tests.moves import finish
from tests.patience import until
from tests.submitting import submit
from voxqueue.database.session import Sessions
from voxqueue.embedded.processes import running
from voxqueue.embedded.redis import prepared_redis
from voxqueue.jobs.changes import Announcer, channel
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.states import JobState
from voxqueue.settings import RedisSettings, Settings

pytestmark = pytest.mark.integration

AT_ONCE_S = 3.0  # on a busy machine; whoever is not woken is answered when the time is over, after 4.7
CLOSED = RedisSettings(url="redis://127.0.0.1:9/0")


class Waiter:
    """A request that waits, in a thread; `result` is the answer, and how many seconds it took."""

    def __init__(self, url: str, job_id: str, seconds: int = LIMITS.wait_seconds) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._answer = self._pool.submit(self._ask, url, job_id, seconds)

    def _ask(self, url: str, job_id: str, seconds: int) -> tuple[httpx.Response, float]:
        start = time.monotonic()
        answer = httpx.get(f"{url}/v1/jobs/{job_id}", headers={"Prefer": f"wait={seconds}"}, timeout=30)
        return answer, time.monotonic() - start

    def result(self) -> tuple[httpx.Response, float]:
        answer = self._answer.result(timeout=30)
        self._pool.shutdown()
        return answer


@contextmanager
def announcing(settings: RedisSettings) -> Iterator[Announcer]:
    announcer = Announcer(settings)
    yield announcer
    announcer.close()


def least_delay(url: str, end: Callable[[str], object], status: int = 200, state: str = "succeeded") -> float:
    """Seconds from a job's end to the answer of who waits for it. The least of three, since the machine may be busy."""
    delays = []
    for _ in range(3):
        with httpx.Client(base_url=url, timeout=20) as api:
            job_id = submit(api, Kind.REPLY)
        waiter = Waiter(url, job_id)
        time.sleep(0.3)  # it has looked by now; were it slower, it would find the end by looking, and prove nothing
        end(job_id)
        answer, took = waiter.result()
        assert (answer.status_code, answer.json().get("state", state)) == (status, state)
        delays.append(took - 0.3)
    return min(delays)


def test_who_waits_hears_at_once_that_the_job_has_finished(
    api_url: str, api_settings: Settings, sessions: Sessions
) -> None:
    with announcing(api_settings.redis) as announcer:

        def end(job_id: str) -> None:
            finish(sessions, job_id, Kind.REPLY)
            announcer.announce(UUID(job_id), JobState.SUCCEEDED)

        assert least_delay(api_url, end) < AT_ONCE_S


def test_a_cancel_wakes_who_waits(api: httpx.Client, api_url: str) -> None:
    assert least_delay(api_url, lambda job_id: api.post(f"/v1/jobs/{job_id}/cancel"), 200, "canceled") < AT_ONCE_S


def test_a_delete_wakes_who_waits(api: httpx.Client, api_url: str) -> None:
    assert least_delay(api_url, lambda job_id: api.delete(f"/v1/jobs/{job_id}"), 404) < AT_ONCE_S


def test_without_redis_the_end_is_found_within_a_second(api_settings: Settings, sessions: Sessions) -> None:
    with (
        serving(api_settings.model_copy(update={"redis": CLOSED})) as url,
        httpx.Client(base_url=url, timeout=20) as api,
    ):
        job_id = submit(api, Kind.REPLY)
        waiter = Waiter(url, job_id)
        time.sleep(0.2)  # it has looked by now; were it slower, it would only have less to wait for
        finish(sessions, job_id, Kind.REPLY)
        answer, took = waiter.result()
    assert answer.json()["state"] == "succeeded"
    assert took < 3


def listeners(settings: RedisSettings) -> int:
    """How many processes hear of changes by this Redis."""
    with redis.Redis.from_url(settings.require_url()) as client:
        [(_, number)] = client.pubsub_numsub(channel(settings))
        return int(number)


def test_redis_may_go_away_and_come_back(api_settings: Settings, sessions: Sessions, tmp_path: Path) -> None:
    with prepared_redis(tmp_path / "redis", durable=False) as server:
        redis_settings = RedisSettings(url=server.url)
        with serving(api_settings.model_copy(update={"redis": redis_settings})) as url:

            def end(job_id: str) -> None:
                finish(sessions, job_id, Kind.REPLY)
                with announcing(redis_settings) as announcer:
                    announcer.announce(UUID(job_id), JobState.SUCCEEDED)

            with running(server):
                until(lambda: listeners(redis_settings) == 1)
                assert least_delay(url, end) < AT_ONCE_S
            assert least_delay(url, end) < 3
            with running(server):
                until(lambda: listeners(redis_settings) == 1)
                assert least_delay(url, end) < AT_ONCE_S


def _submitted(url: str) -> str:
    with httpx.Client(base_url=url, timeout=20) as api:
        return submit(api, Kind.REPLY)


def test_when_the_time_is_over_the_job_is_shown_as_it_is(api: httpx.Client, api_url: str) -> None:
    answer, took = Waiter(api_url, submit(api), seconds=1).result()
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert answer.headers["preference-applied"] == "wait=1"
    assert 1 <= took < 3


def test_nobody_waits_longer_than_the_limit(api: httpx.Client) -> None:
    start = time.monotonic()
    answer = api.get(f"/v1/jobs/{submit(api)}", headers={"Prefer": "wait=86400"})
    assert answer.headers["preference-applied"] == f"wait={LIMITS.wait_seconds}"
    assert LIMITS.wait_seconds <= time.monotonic() - start < LIMITS.wait_seconds + 3


@pytest.mark.parametrize("prefer", ["wait", "wait=-1", "wait=soon", "wait=1.5", "respond-async", ";;", ""])
def test_a_preference_that_makes_no_sense_is_ignored(api: httpx.Client, prefer: str) -> None:
    start = time.monotonic()
    answer = api.get(f"/v1/jobs/{submit(api)}", headers={"Prefer": prefer})
    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers
    assert time.monotonic() - start < LIMITS.wait_seconds


def test_a_finished_job_is_not_waited_for(api: httpx.Client, sessions: Sessions, api_url: str) -> None:
    job_id = submit(api, Kind.REPLY)
    finish(sessions, job_id, Kind.REPLY)
    answer, took = Waiter(api_url, job_id).result()
    assert answer.headers["preference-applied"] == f"wait={LIMITS.wait_seconds}"
    assert took < LIMITS.wait_seconds


def patient(settings: Settings) -> Settings:
    """Where one may wait for ten minutes, which is longer than any client of these tests does."""
    limits = settings.limits.model_copy(update={"wait_seconds": 600})
    return settings.model_copy(update={"limits": limits})


def until_waiting(app: FastAPI, job_id: str, number: int) -> None:
    """Wait until so many requests wait for a job's end."""
    waiting = app.state.services.watch._waiters
    until(lambda: len(waiting.get(UUID(job_id), ())) == number)


def test_more_waiters_than_threads_and_connections_hold_nobody_up(api_settings: Settings, sessions: Sessions) -> None:
    app = create_app(patient(api_settings))
    with serving_app(app) as url, httpx.Client(base_url=url, timeout=20) as api:
        job_id = submit(api)
        waiters = [Waiter(url, job_id, seconds=600) for _ in range(60)]
        until_waiting(app, job_id, 60)
        other = submit(api)
        assert api.get(f"/v1/jobs/{other}").status_code == 200
        api.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
        assert {waiter.result()[0].json()["state"] for waiter in waiters} == {"canceled"}


def test_a_waiter_that_left_is_forgotten(api_settings: Settings, sessions: Sessions) -> None:
    app = create_app(patient(api_settings))
    with serving_app(app) as url:
        job_id = _submitted(url)
        at = urlsplit(url)
        with socket.create_connection((at.hostname, at.port)) as connection:
            connection.sendall(
                f"GET /v1/jobs/{job_id} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=600\r\n\r\n".encode()
            )
            until_waiting(app, job_id, 1)
    # The server has ended, which it does only when nobody waits any more.


def test_sigterm_answers_who_waits_and_ends_the_server(api_settings: Settings, sessions: Sessions) -> None:
    with api_process(api_settings) as (url, server):
        at = urlsplit(url)
        with closing(HTTPConnection(str(at.hostname), at.port, timeout=30)) as waiter:
            waiter.request("GET", f"/v1/jobs/{_submitted(url)}", headers={"Prefer": "wait=60"})
            httpx.get(f"{url}/livez").raise_for_status()  # what came before it has been read by then
            server.send_signal(signal.SIGTERM)
            answer = waiter.getresponse()
            assert (answer.status, json.load(answer)["state"]) == (200, "queued")
        _, said = server.communicate(timeout=20)
    assert b"Traceback" not in said
    assert b"Application shutdown complete" in said
