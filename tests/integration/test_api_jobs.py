"""Following, listing, canceling and deleting jobs over HTTP, while a worker (played by the test) moves them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from tests.gated_worker import until_blocked
from tests.moves import SPEECH_KEY, claim, done, finish, move, skipped
from tests.problems import refused
from tests.recordings import recording, silence
from tests.submitting import submit
from voxqueue.database.session import Sessions
from voxqueue.errors import EngineFailed
from voxqueue.jobs import lifecycle, repository
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.models import DoomedBlob, Job, Note
from voxqueue.jobs.states import RunState
from voxqueue.settings import Settings
from voxqueue.stages import Stage

pytestmark = pytest.mark.integration


def show(api: httpx.Client, job_id: str) -> dict[str, object]:
    answer = api.get(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, object] = answer.json()
    return shown


def moment(value: object) -> datetime:
    assert isinstance(value, str)
    found = datetime.fromisoformat(value)
    assert found.utcoffset() is not None
    return found


# --- showing ----------------------------------------------------------------------------------------------------------


def test_a_job_shows_each_stage_as_it_is_committed(api: httpx.Client, sessions: Sessions) -> None:
    job_id = submit(api, Kind.VOICE_NOTE)
    path = f"/v1/jobs/{job_id}"
    attempt = claim(sessions, job_id)
    shown = show(api, job_id)
    assert (shown["state"], shown["stage"], shown["progress"]) == ("running", "stt", 0)
    assert shown["transcript"] is None

    wanted = lifecycle.proceed(UUID(job_id), attempt, done(Stage.STT), Stage.LLM, lease_s=60)
    move(sessions, wanted)
    api_answer = api.get(path).json()
    assert (api_answer["state"], api_answer["stage"], api_answer["progress"]) == ("running", "llm", 33)
    assert api_answer["transcript"]["text"] == "When do you open? Thank you."
    assert api_answer["transcript"]["segments"][1]["end"] == 3725.0405
    assert api_answer["reply"] is None
    links = {name: f"{path}/{name}" for name in ("events", "cancel", "transcript")}
    assert api_answer["links"] == {"self": path, **links}
    stt, llm, tts = api_answer["stages"]
    assert stt["wait_ms"] >= 0
    assert moment(stt["started_at"]) < moment(stt["finished_at"])
    assert {name: stt[name] for name in ("state", "engine", "model", "run_ms", "batch_size", "failures", "reason")} == {
        "state": "succeeded",
        "engine": "fake",
        "model": "fake-1",
        "run_ms": 12.5,
        "batch_size": 2,
        "failures": 0,
        "reason": None,
    }
    assert (llm["state"], llm["finished_at"], tts["state"], tts["started_at"]) == ("running", None, "pending", None)

    move(sessions, lifecycle.succeed(UUID(job_id), attempt, done(Stage.LLM), (done(Stage.TTS),)))
    answer = api.get(path)
    ended = answer.json()
    assert (ended["state"], ended["progress"], ended["error"]) == ("succeeded", 100, None)
    assert ended["reply"] == {"text": "At seven.", "data": None}
    assert ended["audio"] == {
        "seconds": 1.5,
        "format": "ogg",
        "media_type": "audio/ogg",
        "size": 10,
        "sample_rate": 24_000,
    }
    assert ended["links"] == {"self": path, **{name: f"{path}/{name}" for name in ("events", "transcript", "audio")}}
    assert moment(ended["created_at"]) <= moment(ended["started_at"]) <= moment(ended["finished_at"])
    assert SPEECH_KEY not in answer.text, "keys are ours"
    assert "notes/" not in answer.text


def test_a_job_shows_what_it_gets_less_than_was_asked_for(api: httpx.Client, sessions: Sessions) -> None:
    job_id = submit(api)
    attempt = claim(sessions, job_id)
    less = replace(done(Stage.LLM), degradations=("it was cut", "it was late"))
    move(sessions, lifecycle.proceed(UUID(job_id), attempt, less, Stage.TTS, lease_s=60))
    shown = api.get(f"/v1/jobs/{job_id}").json()
    assert [run["degradations"] for run in shown["stages"]] == [["it was cut", "it was late"], []]
    assert shown["degradations"] == ["llm: it was cut", "llm: it was late"]


def test_progress_within_a_stage_is_shown_and_is_100_for_a_finished_job_alone(
    api: httpx.Client, sessions: Sessions
) -> None:
    job_id = submit(api)
    attempt = claim(sessions, job_id)

    def told(share: float, stage: Stage) -> tuple[object, list[int]]:
        with sessions.begin() as session:
            repository.tell_progress(session, [(UUID(job_id), stage, share)])
        shown = api.get(f"/v1/jobs/{job_id}").json()
        return shown["progress"], [run["progress"] for run in shown["stages"]]

    assert told(0.29, Stage.LLM) == (14, [29, 0])
    assert told(0.2, Stage.LLM) == (14, [29, 0]), "never backwards"
    move(sessions, lifecycle.proceed(UUID(job_id), attempt, done(Stage.LLM), Stage.TTS, lease_s=60))
    assert told(1, Stage.TTS) == (99, [100, 99]), "the result is not there yet"
    move(sessions, lifecycle.succeed(UUID(job_id), attempt, done(Stage.TTS)))
    assert told(0.1, Stage.TTS) == (100, [100, 100])


def test_a_failed_job_says_why_and_keeps_what_it_had(api: httpx.Client, sessions: Sessions) -> None:
    job_id = submit(api, Kind.VOICE_NOTE)
    attempt = claim(sessions, job_id)
    move(sessions, lifecycle.proceed(UUID(job_id), attempt, done(Stage.STT), Stage.LLM, lease_s=60))
    error = EngineFailed("The engine fell over.")
    broken = lifecycle.Outcome(stage=Stage.LLM, state=RunState.FAILED, reason=error.detail)
    move(sessions, lifecycle.fail(UUID(job_id), attempt, broken, error.as_problem()))
    shown = api.get(f"/v1/jobs/{job_id}").json()
    assert shown["state"] == "failed"
    assert shown["error"] == {
        "type": "urn:voxqueue:problem:engine-failed",
        "title": "The engine failed",
        "detail": "The engine fell over.",
        "stage": "llm",
    }
    assert [run["state"] for run in shown["stages"]] == ["succeeded", "failed", "canceled"]
    assert shown["transcript"]["text"]
    assert set(shown["links"]) == {"self", "events", "retry", "transcript"}


def test_silence_is_a_success_whose_later_stages_say_why_they_were_skipped(
    api: httpx.Client, sessions: Sessions
) -> None:
    quiet = recording(silence(1), 16_000, "wav")
    job_id = api.post("/v1/voice-notes", files={"file": quiet}).json()["id"]
    attempt = claim(sessions, job_id)
    nothing: dict[str, Any] = {"text": "", "language": None, "audio_seconds": 1.0, "segments": []}  # as older ones are
    move(
        sessions,
        lifecycle.succeed(UUID(job_id), attempt, done(Stage.STT, nothing), (skipped(Stage.LLM), skipped(Stage.TTS))),
    )
    shown = api.get(f"/v1/jobs/{job_id}").json()
    assert (shown["state"], shown["progress"], shown["error"]) == ("succeeded", 100, None)
    unknown = dict.fromkeys(("language_probability", "speech_seconds", "average_log_probability"))
    assert shown["transcript"] == nothing | unknown
    assert [(run["state"], run["reason"]) for run in shown["stages"][1:]] == [("skipped", "nothing was said")] * 2
    assert (shown["reply"], shown["audio"]) == (None, None)
    assert set(shown["links"]) == {"self", "events", "transcript"}


def test_a_retried_stage_shows_its_failures(api: httpx.Client, sessions: Sessions) -> None:
    job_id = submit(api)
    attempt = claim(sessions, job_id)
    move(sessions, lifecycle.try_again(UUID(job_id), attempt, Stage.LLM, "it broke", due_in_s=60, counts=True))
    shown = api.get(f"/v1/jobs/{job_id}").json()
    assert (shown["state"], shown["error"]) == ("queued", None)
    assert (shown["stages"][0]["state"], shown["stages"][0]["failures"], shown["stages"][0]["reason"]) == (
        "pending",
        1,
        "it broke",
    )


def test_an_id_is_the_same_in_capitals_and_none_in_any_other_spelling(api: httpx.Client) -> None:
    job_id = submit(api)
    assert show(api, job_id.upper())["id"] == job_id
    for other in (job_id.replace("-", ""), f"{{{job_id}}}", f"urn:uuid:{job_id}"):
        refused(api.get(f"/v1/jobs/{other}"), 404, "not-found")


# --- listing ----------------------------------------------------------------------------------------------------------


def test_a_list_is_read_page_by_page_from_the_newest_on(api: httpx.Client) -> None:
    ids = [submit(api) for _ in range(5)]
    seen: list[str] = []
    query: dict[str, str | int] = {"limit": 2}
    for expected in (2, 2, 1):
        page = api.get("/v1/jobs", params=query).json()
        assert len(page["jobs"]) == expected
        seen += [job["id"] for job in page["jobs"]]
        submit(api)  # what is new does not shift the pages
        query["cursor"] = page["next_cursor"] or ""
    assert page["next_cursor"] is None
    assert seen == ids[::-1]


def test_a_full_last_page_says_that_it_is_the_last(api: httpx.Client) -> None:
    ids = [submit(api) for _ in range(2)]
    page = api.get("/v1/jobs", params={"limit": 2}).json()
    assert [job["id"] for job in page["jobs"]] == ids[::-1]
    assert page["next_cursor"] is None
    assert page["jobs"][0] == show(api, ids[1])


def test_a_list_can_be_of_one_state_and_one_kind(api: httpx.Client, sessions: Sessions) -> None:
    chat, reply = submit(api, Kind.CHAT), submit(api, Kind.REPLY)
    ended = submit(api, Kind.REPLY)
    finish(sessions, ended, Kind.REPLY)

    def listed(**query: str) -> list[str]:
        return [job["id"] for job in api.get("/v1/jobs", params=query).json()["jobs"]]

    assert listed(state="queued") == [reply, chat]
    assert listed(kind="reply") == [ended, reply]
    assert listed(kind="reply", state="succeeded") == [ended]
    assert listed(kind="speech") == []


# --- canceling and deleting -------------------------------------------------------------------------------------------


def test_a_canceled_job_keeps_its_transcript_and_its_worker_loses_it(api: httpx.Client, sessions: Sessions) -> None:
    job_id = submit(api, Kind.VOICE_NOTE)
    attempt = claim(sessions, job_id)
    move(sessions, lifecycle.proceed(UUID(job_id), attempt, done(Stage.STT), Stage.LLM, lease_s=60))
    answer = api.post(f"/v1/jobs/{job_id}/cancel")
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["state"], shown["error"]) == ("canceled", None)
    assert [run["state"] for run in shown["stages"]] == ["succeeded", "canceled", "canceled"]
    assert set(shown["links"]) == {"self", "events", "retry", "transcript"}
    with sessions.begin() as session:
        late = lifecycle.succeed(UUID(job_id), attempt, done(Stage.LLM))
        assert lifecycle.move(session.connection(), [late]) == [None]
    assert show(api, job_id) == shown


@pytest.mark.parametrize("end", ["succeeded", "canceled"])
def test_a_finished_job_cannot_be_canceled(api: httpx.Client, sessions: Sessions, end: str) -> None:
    job_id = submit(api)
    if end == "succeeded":
        finish(sessions, job_id, Kind.CHAT)
    else:
        api.post(f"/v1/jobs/{job_id}/cancel")
    before = show(api, job_id)
    assert end in refused(api.post(f"/v1/jobs/{job_id}/cancel"), 409, "job-finished")
    assert show(api, job_id) == before


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_a_deleted_job_is_gone_with_its_note_and_its_blobs_are_doomed(
    api: httpx.Client, sessions: Sessions, api_settings: Settings, state: str
) -> None:
    job_id = submit(api, Kind.VOICE_NOTE)
    keep = submit(api, Kind.TRANSCRIPTION)
    if state == "running":
        claim(sessions, job_id)
    if state == "succeeded":
        finish(sessions, job_id, Kind.VOICE_NOTE)
    with sessions() as session:
        key = session.scalar(select(Note.key).join(Job).where(Job.id == UUID(job_id)))
    answer = api.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    refused(api.get(f"/v1/jobs/{job_id}"), 404, "not-found")
    refused(api.delete(f"/v1/jobs/{job_id}"), 404, "not-found")
    with sessions() as session:
        assert set(session.scalars(select(DoomedBlob.key))) == ({key, SPEECH_KEY} if state == "succeeded" else {key})
        assert len(session.scalars(select(Note)).all()) == 1
    assert show(api, keep)["state"] == "queued"
    assert isinstance(api_settings.storage.dir, Path)
    assert (api_settings.storage.dir / str(key)).exists(), "removed by upkeep, after the commit"


def test_a_delete_while_the_worker_commits_dooms_what_it_has_just_made(api: httpx.Client, sessions: Sessions) -> None:
    job_id = submit(api)
    attempt = claim(sessions, job_id)
    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as session:
            ended = lifecycle.succeed(UUID(job_id), attempt, done(Stage.LLM), (done(Stage.TTS),))
            assert lifecycle.move(session.connection(), [ended]) != [None]
            answer = pool.submit(api.delete, f"/v1/jobs/{job_id}")
            until_blocked(sessions)
            assert not answer.done(), "it waits for the worker"
        assert answer.result().status_code == 204
    with sessions() as session:
        assert session.scalars(select(DoomedBlob.key)).all() == [SPEECH_KEY]
