"""Fetching what a job has brought: transcripts in every format, and speech in parts and as a whole."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from tests.integration.conftest import serving
from tests.moves import RESULTS, SPEECH_KEY, claim, done, finish, move, skipped
from tests.problems import refused
from tests.submitting import submit
from tests.wire_s3 import s3_server
from voxqueue.database.session import Sessions
from voxqueue.jobs import lifecycle
from voxqueue.jobs.kinds import Kind
from voxqueue.settings import S3Settings, Settings
from voxqueue.stages import Stage
from voxqueue.storage import open_store

pytestmark = pytest.mark.integration

SPEECH = bytes(range(10))


@pytest.fixture(autouse=True)
def no_aws_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)


@pytest.fixture
def spoken(api: httpx.Client, sessions: Sessions, api_settings: Settings) -> str:
    """The path of a finished chat's speech."""
    assert api_settings.storage.dir is not None
    path = api_settings.storage.dir / SPEECH_KEY
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(SPEECH)
    job_id = submit(api)
    finish(sessions, job_id, Kind.CHAT)
    return f"/v1/jobs/{job_id}/audio"


@pytest.fixture
def heard(api: httpx.Client, sessions: Sessions) -> str:
    """The path of a finished transcript."""
    job_id = submit(api, Kind.TRANSCRIPTION)
    finish(sessions, job_id, Kind.TRANSCRIPTION)
    return f"/v1/jobs/{job_id}/transcript"


# --- transcripts ------------------------------------------------------------------------------------------------------


def test_a_transcript_comes_as_json_and_as_text(api: httpx.Client, heard: str) -> None:
    answer = api.get(heard)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {**RESULTS[Stage.STT], "segments": answer.json()["segments"]}
    assert [segment["start"] for segment in answer.json()["segments"]] == [0.0, 3661.5]
    assert api.get(heard, params={"format": "json"}).json() == answer.json()
    plain = api.get(heard, params={"format": "text"})
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert plain.text == "When do you open? Thank you."


def test_a_transcript_comes_as_subtitles(api: httpx.Client, heard: str) -> None:
    srt = api.get(heard, params={"format": "srt"})
    assert srt.headers["content-type"] == "application/x-subrip; charset=utf-8"
    assert srt.text == (
        "1\n00:00:00,000 --> 00:00:01,250\nWhen do you open?\n\n"
        "2\n01:01:01,500 --> 01:02:05,040\nThank <you> & → bye.\n"
    )
    vtt = api.get(heard, params={"format": "vtt"})
    assert vtt.headers["content-type"] == "text/vtt; charset=utf-8"
    assert vtt.text == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.250\nWhen do you open?\n\n"
        "01:01:01.500 --> 01:02:05.040\nThank &lt;you&gt; &amp; --&gt; bye.\n"
    )
    assert "'srt'" in refused(api.get(heard, params={"format": "pdf"}), 422)


@pytest.mark.parametrize(
    ("result", "stage", "kind"), [("transcript", Stage.STT, Kind.VOICE_NOTE), ("audio", Stage.TTS, Kind.CHAT)]
)
def test_a_result_that_may_still_come_is_409(
    api: httpx.Client, sessions: Sessions, result: str, stage: Stage, kind: Kind
) -> None:
    job_id = submit(api, kind)
    path = f"/v1/jobs/{job_id}/{result}"
    answer = api.get(path)
    assert f"its stage {stage} is pending" in refused(answer, 409, "result-not-ready")
    assert answer.headers["retry-after"] == "1"
    claim(sessions, job_id)
    refused(api.get(path), 409, "result-not-ready")
    api.post(f"/v1/jobs/{job_id}/cancel")
    assert f"it was canceled before its stage {stage} was done" in refused(api.get(path), 404, "not-found")


def test_a_result_that_the_kind_does_not_have_is_404(api: httpx.Client) -> None:
    chat, transcription = submit(api), submit(api, Kind.TRANSCRIPTION)
    assert "chat" in refused(api.get(f"/v1/jobs/{chat}/transcript"), 404, "not-found")
    assert "transcription" in refused(api.get(f"/v1/jobs/{transcription}/audio"), 404, "not-found")


def test_speech_that_was_skipped_is_404(api: httpx.Client, sessions: Sessions) -> None:
    job_id = submit(api)
    attempt = claim(sessions, job_id)
    move(sessions, lifecycle.succeed(UUID(job_id), attempt, done(Stage.LLM, {"text": ""}), (skipped(Stage.TTS),)))
    detail = refused(api.get(f"/v1/jobs/{job_id}/audio"), 404, "not-found")
    assert detail == "The job has no speech, and brings none any more: nothing was said."


# --- speech -----------------------------------------------------------------------------------------------------------


def test_speech_comes_as_a_file_with_a_name_and_a_tag(api: httpx.Client, spoken: str) -> None:
    answer = api.get(spoken)
    assert (answer.status_code, answer.content) == (200, SPEECH)
    assert answer.headers["content-type"] == "audio/ogg"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == f'"{RESULTS[Stage.TTS]["sha256"]}"'
    job_id = spoken.split("/")[3]
    assert answer.headers["content-disposition"] == f'attachment; filename="voxqueue-{job_id}.ogg"'
    again = api.get(spoken, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])
    assert api.get(spoken, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("asked", "content_range", "expected"),
    [
        ("bytes=0-3", "bytes 0-3/10", SPEECH[:4]),
        ("bytes=4-", "bytes 4-9/10", SPEECH[4:]),
        ("bytes=-2", "bytes 8-9/10", SPEECH[8:]),
        ("bytes=8-99", "bytes 8-9/10", SPEECH[8:]),
    ],
)
def test_a_part_of_the_speech_can_be_asked_for(
    api: httpx.Client, spoken: str, asked: str, content_range: str, expected: bytes
) -> None:
    answer = api.get(spoken, headers={"Range": asked})
    assert (answer.status_code, answer.headers["content-range"], answer.content) == (206, content_range, expected)


def test_a_part_of_another_version_is_answered_with_the_whole(api: httpx.Client, spoken: str) -> None:
    answer = api.get(spoken, headers={"Range": "bytes=0-3", "If-Range": '"other"'})
    assert (answer.status_code, answer.content) == (200, SPEECH)


def test_a_part_that_is_not_there_is_a_problem(api: httpx.Client, spoken: str) -> None:
    answer = api.get(spoken, headers={"Range": "bytes=10-"})
    refused(answer, 416, "range-not-satisfiable")
    assert answer.headers["content-range"] == "bytes */10"
    refused(api.get(spoken, headers={"Range": "bytes=5-2"}), 416, "range-not-satisfiable")


def test_a_head_is_answered_like_the_get_but_without_a_body(api: httpx.Client, spoken: str, heard: str) -> None:
    """Players and download managers ask like this for size and type before they fetch anything."""
    for path, headers in (
        (spoken, {}),
        (spoken, {"Range": "bytes=2-4"}),
        (spoken, {"Range": "bytes=10-"}),
        (heard, {}),
        (f"{heard}?format=srt", {}),
        ("/v1/jobs/nothing/audio", {}),
    ):
        got, looked = (api.request(method, path, headers=headers) for method in ("GET", "HEAD"))
        assert (looked.status_code, looked.content) == (got.status_code, b"")
        told = {name: value for name, value in got.headers.items() if name not in ("date", "ratelimit")}
        assert {name: looked.headers.get(name) for name in told} == told


def test_a_range_in_units_that_nobody_knows_is_ignored(api: httpx.Client, spoken: str) -> None:
    answer = api.get(spoken, headers={"Range": "lines=1-2"})
    assert (answer.status_code, answer.content) == (200, SPEECH)


def test_a_lost_file_is_our_fault_and_says_nothing_of_keys(
    api: httpx.Client, spoken: str, api_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert api_settings.storage.dir is not None
    (api_settings.storage.dir / SPEECH_KEY).unlink()
    answer = api.get(spoken)
    refused(answer, 500, "blob-missing")
    assert SPEECH_KEY not in answer.text
    assert SPEECH_KEY in caplog.text, "the operator must learn which"
    assert "Traceback" in caplog.text


@pytest.fixture
def s3_settings(api_settings: Settings) -> Iterator[Settings]:
    with s3_server() as endpoint:
        bucket = S3Settings(
            bucket="voices",
            endpoint_url=endpoint,
            region="us-east-1",
            access_key_id="key",
            secret_access_key=SecretStr("secret"),
        )
        httpx.put(f"{endpoint}/voices").raise_for_status()
        yield api_settings.model_copy(update={"s3": bucket})


def test_with_an_object_store_speech_is_fetched_from_there(
    s3_settings: Settings, sessions: Sessions, tmp_path: Path
) -> None:
    source = tmp_path / "speech"
    source.write_bytes(SPEECH)
    with source.open("rb") as file:
        blob = open_store(s3_settings).put("speech/x.ogg", file, media_type="audio/ogg")
    result: dict[str, Any] = {**RESULTS[Stage.TTS], "key": blob.key, "sha256": hashlib.sha256(SPEECH).hexdigest()}
    with serving(s3_settings) as url, httpx.Client(base_url=url) as api:
        job_id = submit(api, Kind.SPEECH)
        attempt = claim(sessions, job_id)
        move(sessions, lifecycle.succeed(UUID(job_id), attempt, done(Stage.TTS, result)))
        answer = api.get(f"/v1/jobs/{job_id}/audio")
        assert answer.status_code == 307
        fetched = httpx.get(answer.headers["location"], headers={"Range": "bytes=2-4"})
        looked = api.head(f"/v1/jobs/{job_id}/audio", follow_redirects=True)
    assert (fetched.status_code, fetched.content) == (206, SPEECH[2:5])
    assert fetched.headers["content-type"] == "audio/ogg"
    assert f"voxqueue-{job_id}.ogg" in fetched.headers["content-disposition"]
    assert (looked.status_code, looked.headers["content-length"], looked.content) == (200, str(len(SPEECH)), b"")
