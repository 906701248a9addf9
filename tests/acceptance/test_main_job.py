"""The main job over HTTP, with the engines that need no download and with real recordings where there are some."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import jiwer
import numpy as np
import pytest

from tests.acceptance.conftest import start
from tests.recordings import CONTAINERS, SHARED_AUDIO, real_recordings, recording, silence
from tests.speech import speak
from voxqueue.audio import decode
from voxqueue.client import ApiError, Client, Job
from voxqueue.demo import SENTENCE
from voxqueue.embedded import Stack
from voxqueue.embedded.processes import free_port
from voxqueue.jobs.kinds import Kind

pytestmark = pytest.mark.acceptance

_WAIT_S = 60


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with start(flower_port=free_port(), env={"VOXQUEUE_FLOWER_BASIC_AUTH": "operator:secret"}) as stack:
        yield stack


@pytest.fixture(scope="module")
def spoken() -> tuple[np.ndarray, int]:
    return speak(SENTENCE)


def words(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum() or char.isspace() or char == "'").strip()


def finished(client: Client, job: Job) -> Job:
    job = client.wait(job, timeout=_WAIT_S)
    job.raise_for_state()
    return job


def states(job: Job) -> dict[str, str]:
    return {run.stage: run.state for run in job.stages}


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_voice_note_in_any_container_comes_back_as_text_reply_and_speech(
    client: Client, spoken: tuple[np.ndarray, int], container: str
) -> None:
    job = finished(client, client.send_note(recording(*spoken, container), file_name=f"note.{container}"))
    assert states(job) == {"stt": "succeeded", "llm": "succeeded", "tts": "succeeded"}
    assert job.transcript is not None
    assert job.transcript.text is not None
    # The recogniser is small, and AMR is telephone quality; another note's words would be near 1.
    assert jiwer.wer(words(SENTENCE), words(job.transcript.text)) <= (0.6 if container == "amr" else 0.4)
    assert job.reply is not None
    assert job.transcript.text in str(job.reply.text)
    assert job.audio is not None
    speech = decode(client.audio(job.id), max_seconds=120)
    assert len(speech) / 16_000 == pytest.approx(job.audio.seconds, abs=0.1)
    assert np.abs(speech).max() > 0.05, "there is sound in it"


@pytest.mark.skipif(SHARED_AUDIO is None, reason="no real recordings here")
def test_real_recordings_are_understood_about_as_well_as_the_recogniser_can(client: Client) -> None:
    assert SHARED_AUDIO is not None
    clips = [clip for clip in real_recordings() if clip["language"] == "en" and clip["file"].startswith("ljspeech")]
    jobs = [client.send_note(SHARED_AUDIO / clip["file"], kind=Kind.TRANSCRIPTION) for clip in clips]
    heard = [finished(client, job).transcript for job in jobs]
    wer = jiwer.wer([words(clip["text"]) for clip in clips], [words(it.text) if it else "" for it in heard])
    assert wer < 0.5, "measured: 0.27 to 0.33; a recogniser that hears nothing, or another note, is near 1"


def test_every_kind_runs_its_own_stages_and_no_others(client: Client, spoken: tuple[np.ndarray, int]) -> None:
    for kind in Kind:
        sent = (
            client.send_note(recording(*spoken, "ogg"), kind=kind)
            if kind.takes_note
            else client.send_text("Good morning to you.", kind=kind)
        )
        job = finished(client, sent)
        assert list(states(job)) == [stage.value for stage in kind.stages]
        assert set(states(job).values()) == {"succeeded"}
        assert (job.transcript is not None) == ("stt" in kind.stages)
        assert (job.reply is not None) == ("llm" in kind.stages)
        assert (job.audio is not None) == ("tts" in kind.stages)


def test_silence_is_no_error(client: Client) -> None:
    job = finished(client, client.send_note(recording(silence(3), 16_000, "ogg")))
    assert states(job) == {"stt": "succeeded", "llm": "skipped", "tts": "skipped"}
    assert job.transcript is not None
    assert job.transcript.text == ""
    assert {run.reason for run in job.stages[1:]} == {"no speech was heard in the note"}


@pytest.mark.parametrize("audio_format", ["ogg", "mp3", "m4a", "wav", "flac"])
def test_speech_comes_in_the_format_that_was_asked_for_and_in_ranges(
    client: Client, stack: Stack, audio_format: str
) -> None:
    job = finished(client, client.send_text("Hello there.", kind=Kind.SPEECH, audio_format=audio_format))
    address = f"{stack.api_url}/v1/jobs/{job.id}/audio"
    whole = httpx.get(address)
    part = httpx.get(address, headers={"Range": "bytes=10-29"})
    assert part.status_code == 206
    assert part.content == whole.content[10:30]
    assert len(decode(whole.content, max_seconds=60)) > 8_000


def test_a_transcript_can_be_had_as_subtitles(client: Client, spoken: tuple[np.ndarray, int]) -> None:
    job = finished(client, client.send_note(recording(*spoken, "ogg"), kind=Kind.TRANSCRIPTION))
    assert client.transcript(job.id, "vtt").startswith("WEBVTT\n")
    assert " --> " in client.transcript(job.id, "srt")


def test_a_language_that_the_engine_does_not_know_fails_the_job_in_words(
    client: Client, spoken: tuple[np.ndarray, int]
) -> None:
    job = client.wait(client.send_note(recording(*spoken, "ogg"), language="de"), timeout=_WAIT_S)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.stage == "stt"
    assert "VOXQUEUE_STT_ENGINES" in job.error.detail


def test_a_voice_is_listed_or_refused_before_any_work_is_done(client: Client) -> None:
    assert "pt-br" in [voice.name for voice in client.voices(language="pt")]
    with pytest.raises(ApiError, match="'nobody' is none that a worker has now"):
        client.send_text("Nobody speaks like this.", kind=Kind.SPEECH, voice="nobody")
    spoken = finished(client, client.send_text("Bom dia.", kind=Kind.SPEECH, voice="PT-br+F3"))
    assert spoken.audio is not None


def test_flower_shows_each_job_as_a_task_of_its_own_and_refuses_strangers(client: Client, stack: Stack) -> None:
    good = finished(client, client.send_text("Show me in Flower.", kind=Kind.CHAT))
    bad = client.wait(client.send_text("...", kind=Kind.SPEECH), timeout=_WAIT_S)
    assert bad.state == "failed"
    assert httpx.get(f"{stack.flower_url}/api/tasks").status_code == 401
    with httpx.Client(base_url=str(stack.flower_url), auth=("operator", "secret")) as flower:
        give_up = time.monotonic() + 15
        while True:  # its news comes by Redis, a moment later than ours
            tasks = flower.get("/api/tasks").json()
            mine = {task["uuid"]: task for task in tasks.values() if task["uuid"].startswith((good.id, bad.id))}
            if {task["state"] for task in mine.values()} == {"SUCCESS", "FAILURE"} or time.monotonic() > give_up:
                break
            time.sleep(0.1)
        workers = flower.get("/api/workers", params={"status": "true"}).json()
    assert len(mine) == 2, "one task per job, since one worker serves all stages"
    shown = mine[f"{good.id}.llm.1"]
    assert (shown["name"], shown["state"]) == ("voxqueue.llm", "SUCCESS")
    assert good.id in shown["args"]
    assert "llm, tts: succeeded" in shown["result"]
    assert shown["runtime"] > 0
    failed = mine[f"{bad.id}.tts.1"]
    assert failed["state"] == "FAILURE"
    assert "nothing in this text that can be spoken" in failed["exception"]
    assert len(workers) == 2, "the worker and the courier"


def test_a_deleted_job_leaves_nothing_behind(client: Client, stack: Stack, spoken: tuple[np.ndarray, int]) -> None:
    job = finished(client, client.send_note(recording(*spoken, "ogg")))
    blobs = stack.env["VOXQUEUE_STORAGE_DIR"]
    client.delete(job.id)
    assert httpx.get(f"{stack.api_url}/v1/jobs/{job.id}").status_code == 404
    _until_gone(blobs, job)


def _until_gone(folder: str, job: Job) -> None:
    give_up = time.monotonic() + 15
    while time.monotonic() < give_up:
        if not [path for path in Path(folder).rglob("*") if path.is_file() and job.id in str(path)]:
            return
        time.sleep(0.1)
    raise AssertionError("the speech of a deleted job is still stored")
