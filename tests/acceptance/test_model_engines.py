"""The main job on the runtimes that production uses, with tiny models: Whisper, a server like Ollama's, PocketTTS."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import pytest

from tests import wire_llm
from tests.acceptance.conftest import start
from tests.models.pocket import make_pocket
from tests.models.sentences import ENGLISH, GERMAN, WHISPER, Sentence, speak
from tests.models.voices import make_voices
from tests.recordings import recording, silence
from tests.wire_llm import LlmServer
from voxqueue.audio import decode
from voxqueue.client import ApiError, Client
from voxqueue.embedded import Stack
from voxqueue.stages import SAMPLE_RATE

pytestmark = pytest.mark.acceptance

_WAIT_S = 120


@pytest.fixture(scope="module")
def ollama() -> Iterator[LlmServer]:
    with wire_llm.ollama("tiny:latest") as server:
        yield server


@pytest.fixture(scope="module")
def stack(ollama: LlmServer) -> Iterator[Stack]:
    with TemporaryDirectory(prefix="voxqueue-test-") as folder:
        model, codec = make_pocket(Path(folder))
        env = {
            "VOXQUEUE_MODELS_DEVICE": "cpu",
            "VOXQUEUE_STT_ENGINES": "faster_whisper",
            "VOXQUEUE_WHISPER_MODEL": str(WHISPER),
            "VOXQUEUE_LLM_ENGINES": "ollama",
            "VOXQUEUE_OLLAMA_URL": ollama.url,
            "VOXQUEUE_OLLAMA_MODEL": "tiny",
            "VOXQUEUE_OLLAMA_PARALLEL": "2",
            "VOXQUEUE_TTS_ENGINES": "pocket_tts",
            "VOXQUEUE_TTS_MAX_BATCH": "8",
            "VOXQUEUE_POCKET_LANGUAGES": "en,de",
            "VOXQUEUE_POCKET_MODEL": str(model),
            "VOXQUEUE_POCKET_CODEC": str(codec),
            "VOXQUEUE_POCKET_VOICES_DIR": str(make_voices(Path(folder) / "voices")),
        }
        with start(env, ready_s=150) as stack:
            yield stack


def ogg(*sentences: Sentence) -> bytes:
    spoken = np.concatenate([np.concatenate([speak(one), silence(0.5)]) for one in sentences])
    return recording(spoken, SAMPLE_RATE, "ogg")


def test_readiness_says_what_runs_where(client: Client, stack: Stack) -> None:
    ready, report = stack.readiness()
    assert ready
    assert not report["degraded"], report["degraded_reasons"]
    services = report["services"]
    assert (services["stt"]["engine"], services["stt"]["device"], services["stt"]["dtype"]) == (
        "faster_whisper",
        "cpu",
        "int8",
    )
    assert services["llm"]["engine"] == "ollama"
    assert (services["tts"]["engine"], services["tts"]["dtype"]) == ("pocket_tts", "float32")


def test_many_peoples_notes_share_calls_and_everybody_gets_their_own_answer(client: Client, ollama: LlmServer) -> None:
    sentences = [*ENGLISH[:8], *GERMAN[:4]]
    notes = [ogg(sentence) for sentence in sentences]
    ollama.chats.clear()
    with ThreadPoolExecutor(len(notes)) as threads:
        sent = list(threads.map(client.send_note, notes))
        jobs = [job.raise_for_state() for job in threads.map(lambda one: client.wait(one, timeout=_WAIT_S), sent)]
    for sentence, job in zip(sentences, jobs, strict=True):
        assert job.transcript is not None
        assert job.transcript.text == sentence.text
        assert job.transcript.language == sentence.language
        assert job.reply is not None
        assert job.audio is not None
        spoken = decode(client.audio(job.id), max_seconds=600)
        assert len(spoken) / SAMPLE_RATE == pytest.approx(job.audio.seconds, abs=0.2)
    replies = {job.reply.text for job in jobs if job.reply}
    assert len(replies) == len(jobs), "no two people got the same reply"
    assert max(run.batch_size or 0 for job in jobs for run in job.stages if run.stage == "stt") > 1
    assert ollama.most_at_once <= 2, "the server runs two at a time"
    told = " ".join(message["content"] for chat in ollama.chats for message in chat["messages"])
    assert "German" in told, "a German note is answered in German"


def test_what_the_caller_says_of_a_note_reaches_the_model(client: Client) -> None:
    note = ogg(GERMAN[0])
    job = client.wait(client.send_note(note, kind="transcription", task="translate"), timeout=_WAIT_S)
    assert job.raise_for_state().transcript is not None
    assert job.transcript is not None
    assert job.transcript.text == GERMAN[0].english
    timed = client.wait(client.send_note(note, kind="transcription", word_timestamps=True), timeout=_WAIT_S)
    assert timed.transcript is not None
    words = [word.text for segment in timed.transcript.segments for word in segment.words]
    assert words == GERMAN[0].text.split()


def test_voices_are_listed_used_and_refused(client: Client, stack: Stack) -> None:
    listed = httpx.get(f"{stack.api_url}/v1/voices", timeout=10).json()["voices"]
    assert [voice["name"] for voice in listed] == ["anna", "bert"]
    lengths = []
    for voice in ("anna", "bert"):
        job = client.wait(client.send_text("The train is late.", kind="speech", voice=voice), timeout=_WAIT_S)
        assert job.raise_for_state().audio is not None
        lengths.append(client.audio(job.id))
    assert lengths[0] != lengths[1], "two voices do not sound the same"
    with pytest.raises(ApiError, match="nobody") as refused:
        client.send_text("Hello.", kind="speech", voice="nobody")
    assert refused.value.status == 422


def test_an_answer_that_follows_a_schema_comes_as_data(client: Client, ollama: LlmServer) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    before, ollama.reply = ollama.reply, lambda text: '{"city": "Hamburg"}'
    try:
        job = client.wait(client.send_text("Where?", kind="reply", reply_schema=schema), timeout=_WAIT_S)
    finally:
        ollama.reply = before
    assert job.raise_for_state().reply is not None
    assert job.reply is not None
    assert job.reply.data == {"city": "Hamburg"}


def test_a_language_model_that_is_away_costs_time_and_no_job(client: Client, ollama: LlmServer) -> None:
    """Its worker is killed in the middle of an answer, as a restart of the server does; the job goes on by itself."""
    ollama.faults.append(wire_llm.cut)
    job = client.wait(client.send_text("Are you there?", kind="reply"), timeout=_WAIT_S)
    assert job.raise_for_state().reply is not None
    assert not ollama.faults, "it did meet the fault"


def test_a_long_note_is_subtitled_in_order(client: Client) -> None:
    sentences = [*ENGLISH[:3], *ENGLISH[:3]]
    spoken = np.concatenate([np.concatenate([speak(one), silence(2)]) for one in sentences])
    job = client.wait(
        client.send_note(io.BytesIO(recording(spoken, SAMPLE_RATE, "flac")), kind="transcription"), timeout=_WAIT_S
    )
    assert job.raise_for_state().transcript is not None
    assert job.transcript is not None
    starts = [segment.start for segment in job.transcript.segments]
    assert starts == sorted(starts)
    heard, speech = job.transcript.audio_seconds, job.transcript.speech_seconds
    assert heard == pytest.approx(len(spoken) / SAMPLE_RATE, abs=0.1)
    assert heard is not None
    assert speech is not None
    assert 0 < speech < heard
