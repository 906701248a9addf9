"""Trying a job again that has failed or been canceled: over HTTP, with a runner that does what a worker does."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier
from typing import Any
from uuid import UUID

import httpx
import pytest
import redis
from sqlalchemy import text

from tests.command import voxqueue
from tests.moves import claim, done, finish, move
from tests.problems import refused
from tests.submitting import submit
from voxqueue.client import ApiError, Client
from voxqueue.database.session import Sessions
from voxqueue.errors import EngineFailed
from voxqueue.jobs import lifecycle
from voxqueue.jobs.changes import Announcer
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.lifecycle import Outcome
from voxqueue.jobs.states import JobState, RunState
from voxqueue.queue import JobQueue
from voxqueue.settings import FakeSettings, JobsSettings, Settings, StageSettings
from voxqueue.stages import Stage
from voxqueue.storage import open_store
from workers.engines.base import AnyEngine
from workers.engines.llm.fake import FakeLlmEngine
from workers.engines.stt.fake import FakeSttEngine
from workers.engines.tts.fake import FakeTtsEngine
from workers.ledger import Ledger
from workers.runner import JobFailed, Runner
from workers.serving import Served
from workers.steps import create_steps

pytestmark = pytest.mark.integration

NOT_ENDED = "job-not-ended"


class Bench:
    """A worker for one job at a time, with fake engines that count what they are asked."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        settings = settings.model_copy(
            update={"jobs": JobsSettings(max_tries=1), "fake": FakeSettings(fixed_ms=0, per_item_ms=0)}
        )
        self.asked: dict[Stage, int] = dict.fromkeys(Stage, 0)
        self._store, self._queue, self._announcer = open_store(settings), JobQueue(settings), Announcer(settings.redis)
        self._served = {
            engine.stage: Served(self._counted(engine), StageSettings())
            for engine in (FakeSttEngine(settings), FakeLlmEngine(settings), FakeTtsEngine(settings))
        }
        self._ledger = Ledger(sessions.kw["bind"], self._announcer, owes=lambda: None, is_crowded=lambda: False)
        self._runner = Runner(
            worker="w",
            served=self._served,
            steps=create_steps(settings, self._store),
            ledger=self._ledger,
            queue=self._queue,
            store=self._store,
            settings=settings.jobs,
        )

    def run(self, job_id: str) -> None:
        """Do with the job what a worker would that got its hint."""
        with suppress(JobFailed):
            self._runner.run(UUID(job_id))

    def remove(self, keys: Sequence[str]) -> None:
        self._store.delete(keys)

    def close(self) -> None:
        for served in self._served.values():
            served.stop(wait_s=10)
        self._ledger.stop()
        self._queue.close()
        self._announcer.close()

    def _counted(self, engine: AnyEngine) -> AnyEngine:
        run = engine.run

        def counting(batch: Sequence[Any]) -> Sequence[Any]:
            self.asked[engine.stage] += len(batch)
            return run(batch)

        engine.load()
        engine.run = counting  # type: ignore[method-assign]
        return engine


@pytest.fixture
def bench(api_settings: Settings, sessions: Sessions) -> Iterator[Bench]:
    bench = Bench(api_settings, sessions)
    yield bench
    bench.close()


def send(api: httpx.Client, words: str, kind: Kind = Kind.CHAT) -> str:
    answer = api.post("/v1/texts", json={"text": words, "kind": kind})
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def retry(api: httpx.Client, job_id: str) -> httpx.Response:
    return api.post(f"/v1/jobs/{job_id}/retry")


def failed_at(sessions: Sessions, job_id: str, stage: Stage) -> None:
    """Play a worker whose try of a stage was the last one."""
    error = EngineFailed("It broke.")
    outcome = Outcome(stage=stage, state=RunState.FAILED, reason=error.detail, failed_try=True)
    attempt = claim(sessions, job_id)
    move(sessions, lifecycle.fail(UUID(job_id), attempt, outcome, {**error.as_problem(), "stage": stage.value}))


# --- what becomes of the job ------------------------------------------------------------------------------------------


def test_a_failed_job_is_queued_again_and_its_finished_stages_are_not_repeated(api: httpx.Client, bench: Bench) -> None:
    job_id = send(api, "say it !flaky@tts")
    bench.run(job_id)
    failed = api.get(f"/v1/jobs/{job_id}").json()
    assert (failed["state"], failed["stage"], failed["stages"][1]["failures"]) == ("failed", "tts", 1)
    assert failed["links"]["retry"] == f"/v1/jobs/{job_id}/retry"
    assert "cancel" not in failed["links"]

    answer = api.post(failed["links"]["retry"])
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{job_id}"
    queued = answer.json()
    assert (queued["state"], queued["stage"], queued["error"], queued["finished_at"]) == ("queued", "tts", None, None)
    assert queued["stages"][0] == failed["stages"][0]
    assert (queued["stages"][1]["state"], queued["stages"][1]["failures"]) == ("pending", 0), "counted anew"
    assert "retry" not in queued["links"]
    assert queued["links"]["cancel"]

    bench.run(job_id)
    ended = api.get(f"/v1/jobs/{job_id}").json()
    assert ended["state"] == "succeeded"
    assert ended["reply"] == failed["reply"]
    assert bench.asked == {Stage.STT: 0, Stage.LLM: 1, Stage.TTS: 2}


def test_a_job_that_fails_once_more_has_failed_once_more(api: httpx.Client, bench: Bench) -> None:
    job_id = send(api, "no !fail@tts")
    for tries in (1, 2, 3):
        bench.run(job_id)
        failed = api.get(f"/v1/jobs/{job_id}").json()
        assert (failed["state"], failed["stages"][1]["failures"]) == ("failed", 1)
        assert bench.asked[Stage.TTS] == tries
        assert retry(api, job_id).status_code == 202


def test_a_canceled_job_goes_on_where_it_stood(api: httpx.Client, sessions: Sessions, bench: Bench) -> None:
    job_id = submit(api, Kind.VOICE_NOTE)
    attempt = claim(sessions, job_id)
    move(sessions, lifecycle.proceed(UUID(job_id), attempt, done(Stage.STT), Stage.LLM, lease_s=60))
    canceled = api.post(f"/v1/jobs/{job_id}/cancel").json()
    assert canceled["links"]["retry"]
    assert retry(api, job_id).json()["stage"] == "llm"
    bench.run(job_id)
    ended = api.get(f"/v1/jobs/{job_id}").json()
    assert (ended["state"], ended["transcript"]["text"]) == ("succeeded", "When do you open? Thank you.")
    assert bench.asked == {Stage.STT: 0, Stage.LLM: 1, Stage.TTS: 1}


def test_whoever_held_the_job_before_changes_nothing_any_more(
    api: httpx.Client, sessions: Sessions, bench: Bench
) -> None:
    job_id = send(api, "hello", Kind.REPLY)
    attempt = claim(sessions, job_id)
    assert api.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    assert retry(api, job_id).status_code == 202
    late = lifecycle.succeed(UUID(job_id), attempt, done(Stage.LLM))
    with sessions.begin() as session:
        assert lifecycle.move(session.connection(), [late]) == [None]
    bench.run(job_id)
    assert api.get(f"/v1/jobs/{job_id}").json()["reply"]["text"].startswith("Fake reply")


def test_lost_workers_are_counted_anew(api: httpx.Client, sessions: Sessions) -> None:
    job_id = send(api, "hello")
    failed_at(sessions, job_id, Stage.LLM)
    lost = text("UPDATE jobs SET lost_leases = 3 RETURNING id")
    with sessions.begin() as session:
        session.execute(lost)
    assert retry(api, job_id).status_code == 202
    with sessions() as session:
        assert session.scalar(text("SELECT lost_leases FROM jobs")) == 0


def test_a_recording_that_is_gone_fails_the_job_in_words_again(
    api: httpx.Client, bench: Bench, sessions: Sessions
) -> None:
    job_id = submit(api, Kind.TRANSCRIPTION)
    assert api.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    with sessions() as session:
        bench.remove(session.scalars(text("SELECT key FROM notes")).all())
    assert retry(api, job_id).status_code == 202
    bench.run(job_id)
    failed = api.get(f"/v1/jobs/{job_id}").json()
    assert (failed["state"], failed["error"]["type"]) == ("failed", "urn:voxqueue:problem:note-gone")
    assert bench.asked[Stage.STT] == 0


def test_a_recording_that_is_gone_is_not_missed_once_it_is_transcribed(
    api: httpx.Client, bench: Bench, sessions: Sessions
) -> None:
    job_id = submit(api, Kind.VOICE_NOTE)
    attempt = claim(sessions, job_id)
    move(sessions, lifecycle.hand_over(UUID(job_id), attempt, done(Stage.STT), Stage.LLM))
    failed_at(sessions, job_id, Stage.LLM)
    with sessions() as session:
        bench.remove(session.scalars(text("SELECT key FROM notes")).all())
    assert retry(api, job_id).status_code == 202
    bench.run(job_id)
    assert api.get(f"/v1/jobs/{job_id}").json()["state"] == "succeeded"


# --- who is told ------------------------------------------------------------------------------------------------------


def test_the_workers_are_told(api: httpx.Client, sessions: Sessions, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:

        def hints() -> int:
            return sum(client.llen(name) for name in client.keys("tts*"))

        job_id = send(api, "hello", Kind.SPEECH)
        failed_at(sessions, job_id, Stage.TTS)
        before = hints()
        assert retry(api, job_id).status_code == 202
        assert hints() == before + 1
        assert retry(api, job_id).status_code == 409
        assert hints() == before + 1


# --- what cannot be tried again ---------------------------------------------------------------------------------------


def test_only_a_job_that_has_ended_in_vain_can_be_tried_again(api: httpx.Client, sessions: Sessions) -> None:
    job_id = send(api, "hello")
    assert "queued" in refused(retry(api, job_id), 409, NOT_ENDED)
    claim(sessions, job_id)
    assert "running" in refused(retry(api, job_id), 409, NOT_ENDED)
    other = send(api, "hello")
    finish(sessions, other, Kind.CHAT)
    assert "succeeded" in refused(retry(api, other), 409, NOT_ENDED)
    assert "retry" not in api.get(f"/v1/jobs/{other}").json()["links"]


def test_of_two_that_retry_at_once_one_wins(api: httpx.Client, sessions: Sessions) -> None:
    at_once = Barrier(2)

    def press(job_id: str) -> httpx.Response:
        at_once.wait(10)
        return retry(api, job_id)

    for _ in range(10):
        job_id = send(api, "hello")
        failed_at(sessions, job_id, Stage.LLM)
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(press, [job_id] * 2))
        assert sorted(answer.status_code for answer in answers) == [202, 409]


def test_a_job_that_is_not_there_or_a_strangers_is_404(api: httpx.Client, sessions: Sessions) -> None:
    refused(retry(api, "01a1fbc7-1769-7397-bca1-f96c9a1a3dff"), 404, "not-found")
    job_id = send(api, "hello")
    failed_at(sessions, job_id, Stage.LLM)
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET tenant = 'stranger'"))
    refused(retry(api, job_id), 404, "not-found")
    with sessions() as session:
        assert session.scalar(text("SELECT state FROM jobs")) == JobState.FAILED, "nothing has moved"


# --- by client and command line ---------------------------------------------------------------------------------------


def test_the_client_and_the_command_line_retry(api: httpx.Client, api_url: str, sessions: Sessions) -> None:
    job_id = send(api, "hello")
    failed_at(sessions, job_id, Stage.LLM)
    with Client(api_url) as client:
        assert client.retry(job_id).state == "queued"
        with pytest.raises(ApiError, match="The job is still queued"):
            client.retry(job_id)
    failed_at(sessions, job_id, Stage.LLM)
    ran = voxqueue("job", "retry", job_id, "--url", api_url)
    assert ran.returncode == 0, ran.stderr
    assert "queued" in ran.stdout
    ran = voxqueue("job", "retry", job_id, "--url", api_url)
    assert ran.returncode == 1
    assert "only one that has failed or been canceled" in ran.stderr
