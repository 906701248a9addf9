"""Submitting over HTTP: what is answered, and what is stored and queued by then."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from tests.integration.conftest import Left, serving
from tests.recordings import recording, tone
from voxqueue.database.session import Sessions
from voxqueue.jobs import repository
from voxqueue.jobs.kinds import Kind, Priority
from voxqueue.jobs.states import JobState
from voxqueue.keys.caller import DEFAULT_TENANT
from voxqueue.queue import JobQueue
from voxqueue.settings import DatabaseSettings, RedisSettings, Settings, StorageSettings
from voxqueue.stages import Stage

pytestmark = pytest.mark.integration

CLOSED = "127.0.0.1:9"  # a port where nobody listens


@pytest.fixture(scope="module")
def note() -> bytes:
    return recording(tone(1.5), 16_000, "ogg")


def test_a_voice_note_is_stored_queued_and_answered_with_its_job(
    api: httpx.Client, note: bytes, sessions: Sessions, api_settings: Settings
) -> None:
    queue = JobQueue(api_settings)
    before = queue.empty(Stage.STT)
    answer = api.post(
        "/v1/voice-notes",
        files={"file": ("C:\\notes\\Grüße\x07.ogg", note, "text/html")},
        data={
            "language": "en-US",
            "instructions": "Be brief.",
            "voice": "alba",
            "audio_format": "mp3",
            "task": "translate",
            "prompt": "Brioche, Zwieback",
            "hotwords": "Focaccia",
            "word_timestamps": "true",
            "metadata": '{"chat": "4711", "tags": ["ü", 1.5, null]}',
            "priority": "high",
        },
    )
    assert answer.status_code == 202, answer.text
    shown = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{shown['id']}"
    assert answer.headers["retry-after"] == "1"
    assert shown["note"] == {
        "file_name": "Grüße%07.ogg",  # what httpx makes of the control character
        "seconds": pytest.approx(1.5, abs=0.1),
        "size": len(note),
        "media_type": "audio/ogg",
    }
    assert (shown["kind"], shown["state"], shown["stage"], shown["progress"]) == ("voice_note", "queued", "stt", 0)
    assert (shown["language"], shown["voice"], shown["priority"]) == ("en", "alba", "high")
    assert shown["metadata"] == {"chat": "4711", "tags": ["ü", 1.5, None]}
    assert shown["options"] == {
        "task": "translate",
        "prompt": "Brioche, Zwieback",
        "hotwords": "Focaccia",
        "word_timestamps": True,
    }
    assert [run["stage"] for run in shown["stages"]] == ["stt", "llm", "tts"]
    assert {run["state"] for run in shown["stages"]} == {"pending"}
    path = f"/v1/jobs/{shown['id']}"
    assert shown["links"] == {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel"}
    assert shown["created_at"].endswith("Z")

    assert api.get(answer.headers["location"]).json() == shown, "the answer is what the database holds"
    with sessions() as session:
        job = repository.get(session, UUID(shown["id"]), DEFAULT_TENANT)
    assert (job.instructions, job.audio_format, job.priority) == ("Be brief.", "mp3", Priority.HIGH)
    assert job.note is not None
    assert job.note.sha256 == hashlib.sha256(note).hexdigest()
    assert job.note.key == f"notes/{job.note.id}.ogg"
    assert _blob(api_settings, job.note.key).read_bytes() == note
    assert before is not None
    assert before - (queue.empty(Stage.STT) or set()) == {Priority.HIGH}, "the workers have been told"
    queue.close()


def _blob(settings: Settings, key: str) -> Path:
    assert settings.storage.dir is not None
    return settings.storage.dir / key


def test_a_recording_alone_is_enough(api: httpx.Client, note: bytes) -> None:
    usual = {"language": "", "task": "", "prompt": "", "metadata": "", "webhook_events": "", "word_timestamps": "false"}
    shown = api.post("/v1/voice-notes", files={"file": ("a", note)}, data=usual).json()
    assert shown["options"] == {}
    assert (shown["kind"], shown["language"], shown["voice"], shown["priority"], shown["metadata"]) == (
        "voice_note",
        None,
        None,
        "normal",
        {},
    )


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.takes_note])
def test_each_kind_of_voice_note_has_its_stages(api: httpx.Client, note: bytes, kind: Kind) -> None:
    answer = api.post("/v1/voice-notes", files={"file": ("a.ogg", note)}, data={"kind": kind.value})
    assert [run["stage"] for run in answer.json()["stages"]] == list(kind.stages)


@pytest.mark.parametrize("kind", [kind for kind in Kind if not kind.takes_note])
def test_each_kind_of_text_has_its_stages(api: httpx.Client, sessions: Sessions, kind: Kind) -> None:
    body = {"text": "Grüße \N{SNOWMAN} 𝄞", "kind": kind.value, "language": "DE", "metadata": {"a": {"b": [1]}}}
    answer = api.post("/v1/texts", json=body)
    assert answer.status_code == 202, answer.text
    shown = answer.json()
    assert [run["stage"] for run in shown["stages"]] == list(kind.stages)
    assert (shown["kind"], shown["text"], shown["language"], shown["note"]) == (kind, body["text"], "de", None)
    assert shown["metadata"] == body["metadata"]
    assert api.get(answer.headers["location"]).json() == shown


def test_a_reply_may_be_given_a_schema(api: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"guests": {"$ref": "#/$defs/number"}, "$ref": {"const": 1}, "pattern": True},
        "$defs": {"number": {"type": "integer", "minimum": 1}},
    }
    answer = api.post("/v1/texts", json={"text": "A table for four.", "kind": "reply", "reply_schema": schema})
    assert answer.status_code == 202, answer.text
    assert answer.json()["options"] == {"reply_schema": schema}


def test_what_is_just_within_the_limits_is_accepted(api: httpx.Client, note: bytes, api_settings: Settings) -> None:
    limits = api_settings.limits
    metadata = {"": "x" * (limits.metadata_bytes - len(json.dumps({"": ""}, separators=(",", ":"))))}
    text, instructions = "𝄞" * limits.text_chars, "𝄞" * limits.instructions_chars  # twelve bytes each in JSON
    answer = api.post("/v1/texts", json={"text": text, "instructions": instructions, "metadata": metadata})
    assert answer.status_code == 202, answer.text
    assert answer.json()["text"] == text
    longest = {"prompt": "𝄞" * limits.prompt_chars, "hotwords": "𝄞" * limits.prompt_chars, "instructions": instructions}
    assert api.post("/v1/voice-notes", files={"file": note}, data=longest).status_code == 202


def test_a_recording_of_exactly_the_largest_size_is_accepted(
    note: bytes, api_settings: Settings, sessions: Sessions
) -> None:
    exact = api_settings.model_copy(
        update={"limits": api_settings.limits.model_copy(update={"upload_bytes": len(note)})}
    )
    with serving(exact) as url:
        assert httpx.post(f"{url}/v1/voice-notes", files={"file": note}).status_code == 202
        answer = httpx.post(f"{url}/v1/voice-notes", files={"file": note + b"\0"})
    assert answer.status_code == 413
    assert f"{len(note):,} bytes" in answer.json()["detail"]


def test_a_database_that_is_away_is_503_and_leaves_no_blob(
    note: bytes, api_settings: Settings, left: Callable[[], Left]
) -> None:
    away = api_settings.model_copy(update={"database": DatabaseSettings(url=f"postgresql://{CLOSED}/none")})
    with serving(away) as url:
        answer = httpx.post(f"{url}/v1/voice-notes", files={"file": note}, timeout=20)
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["type"] == "urn:voxqueue:problem:database-unavailable"
    assert left() == (0, 0, 0, [])


def test_a_store_that_is_away_is_503_and_leaves_no_row(
    note: bytes, api_settings: Settings, tmp_path: Path, left: Callable[[], Left]
) -> None:
    away = api_settings.model_copy(update={"storage": StorageSettings(dir=tmp_path / "not mounted")})
    with serving(away) as url:
        answer = httpx.post(f"{url}/v1/voice-notes", files={"file": note})
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:voxqueue:problem:storage-unavailable"
    assert left() == (0, 0, 0, [])


def test_without_redis_a_job_is_accepted_and_waits(note: bytes, api_settings: Settings, sessions: Sessions) -> None:
    away = api_settings.model_copy(update={"redis": RedisSettings(url=f"redis://{CLOSED}/0")})
    with serving(away) as url:
        answer = httpx.post(f"{url}/v1/voice-notes", files={"file": note}, timeout=20)
    assert answer.status_code == 202
    with sessions() as session:
        assert repository.get(session, UUID(answer.json()["id"]), DEFAULT_TENANT).state is JobState.QUEUED
