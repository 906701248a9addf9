"""One job, though it is submitted many times at once, or the API is killed in between."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from sqlalchemy import text

from tests.integration.conftest import Left
from tests.integration.idempotency.submissions import (
    IN_USE,
    KEY,
    REUSED,
    TEXT,
    let_reservations_run_out,
    made,
    nobody_adds_to,
    upload,
)
from tests.patience import until
from tests.problems import refused
from voxqueue.database.session import Sessions
from voxqueue.embedded.processes import free_port, running
from voxqueue.embedded.redis import prepared_redis
from voxqueue.settings import Settings

pytestmark = pytest.mark.integration


# --- at the same time -------------------------------------------------------------------------------------------------


def test_while_the_first_is_worked_on_the_second_is_told_to_come_back(
    api: httpx.Client, sessions: Sessions, left: Callable[[], Left]
) -> None:
    with ThreadPoolExecutor(1) as thread:
        with nobody_adds_to(sessions, "jobs") as until_held:
            first = thread.submit(api.post, "/v1/texts", json=TEXT, headers=KEY)
            until_held()
            second = api.post("/v1/texts", json=TEXT, headers=KEY)
            refused(second, 409, IN_USE)
            assert int(second.headers["retry-after"]) > 0
            refused(api.post("/v1/texts", json={"text": "another"}, headers=KEY), 422, REUSED)
        job_id = made(first.result())
    assert made(api.post("/v1/texts", json=TEXT, headers=KEY), replayed=True) == job_id
    assert left()[0] == 1


def test_of_many_at_once_one_makes_the_job(api: httpx.Client, sessions: Sessions, left: Callable[[], Left]) -> None:
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: api.post("/v1/texts", json=TEXT, headers=KEY), range(36)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert [answer.headers.get("idempotency-replayed") for answer in accepted].count(None) == 1
    assert len({answer.json()["id"] for answer in accepted}) == 1
    assert left()[0] == 1


def test_who_was_too_slow_makes_no_job_beside_the_one_who_took_over(
    api_url: str, note: bytes, sessions: Sessions, left: Callable[[], Left]
) -> None:
    with ThreadPoolExecutor(2) as threads:
        with nobody_adds_to(sessions, "notes") as until_held:
            slow = threads.submit(upload, api_url, note)
            until_held()
            let_reservations_run_out(sessions)
            quick = threads.submit(upload, api_url, note)
            until_held(2)
        refused(slow.result(), 409, IN_USE)
        job_id = made(quick.result())
    assert made(upload(api_url, note), replayed=True) == job_id
    jobs, _, notes, files = left()
    assert (jobs, notes, len(files)) == (1, 1, 1)


# --- an API that is killed --------------------------------------------------------------------------------------------


class Api:
    """An API process of its own, which can be killed."""

    def __init__(self, settings: Settings, redis_url: str) -> None:
        assert settings.storage.dir is not None
        port = free_port()
        ours = {name: value for name, value in os.environ.items() if not name.startswith("VOXQUEUE_")}
        env = {
            **ours,
            "VOXQUEUE_DATABASE_URL": settings.database.require_url(),
            "VOXQUEUE_REDIS_URL": redis_url,
            "VOXQUEUE_STORAGE_DIR": str(settings.storage.dir),
            "VOXQUEUE_API_KEYS": "open",
        }
        argv = [sys.executable, "-m", "voxqueue", "api", "--port", str(port)]
        self.url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers(self) -> bool:
        assert self._process.poll() is None, "the API did not start"
        try:
            return httpx.get(f"{self.url}/livez").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def api_process(settings: Settings, redis_url: str) -> Iterator[Api]:
    api = Api(settings, redis_url)
    try:
        until(api.answers, 60)
        yield api
    finally:
        api.kill()


def assert_unanswered(request: "Future[httpx.Response]") -> None:
    with pytest.raises(httpx.TransportError):
        request.result()


def test_an_api_killed_before_its_commit_leaves_a_key_that_is_taken_over(
    api_settings: Settings, api_url: str, redis_url: str, note: bytes, sessions: Sessions, left: Callable[[], Left]
) -> None:
    with (
        ThreadPoolExecutor(1) as thread,
        api_process(api_settings, redis_url) as dying,
        nobody_adds_to(sessions, "jobs") as until_held,
    ):
        request = thread.submit(upload, dying.url, note)
        until_held()
        dying.kill()
        assert_unanswered(request)
    until(lambda: _no_backend_waits(sessions))
    jobs, _, notes, orphans = left()
    assert (jobs, notes, len(orphans)) == (0, 0, 1), "the recording is stored, and no row speaks of it"
    refused(upload(api_url, note), 409, IN_USE)
    let_reservations_run_out(sessions)
    job_id = made(upload(api_url, note))
    assert made(upload(api_url, note), replayed=True) == job_id
    jobs, _, notes, files = left()
    assert (jobs, notes, len(files)) == (1, 1, 2), "the orphan is upkeep's to remove"


def _no_backend_waits(sessions: Sessions) -> bool:
    with sessions() as session:
        busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
        return bool(session.scalar(text(busy)) == 1)


def test_an_api_killed_between_commit_and_answer_has_made_the_job_that_is_replayed(
    api_settings: Settings, api_url: str, note: bytes, sessions: Sessions, left: Callable[[], Left]
) -> None:
    """After the commit the API tells the workers; a Redis that is stopped keeps it there."""
    with (
        TemporaryDirectory(prefix="voxqueue-test-") as folder,
        prepared_redis(Path(folder, "redis"), durable=False) as server,
        running(server) as redis,
        ThreadPoolExecutor(1) as thread,
        api_process(api_settings, server.url) as dying,
    ):
        with nobody_adds_to(sessions, "jobs") as until_held:
            request = thread.submit(upload, dying.url, note)
            until_held()
            os.kill(redis.pid, signal.SIGSTOP)
        try:
            until(lambda: left()[0] == 1)
            dying.kill()
            assert_unanswered(request)
        finally:
            os.kill(redis.pid, signal.SIGCONT)
    answer = upload(api_url, note)
    made(answer, replayed=True)
    assert answer.json()["state"] == "queued"
    jobs, _, notes, files = left()
    assert (jobs, notes, len(files)) == (1, 1, 1)
