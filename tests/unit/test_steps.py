"""What the steps hand to the engines."""

from typing import Any

import pytest

from voxqueue.database.base import new_id
from voxqueue.jobs.kinds import Kind, Priority
from voxqueue.jobs.lifecycle import ClaimedJob
from voxqueue.jobs.options import Options
from voxqueue.settings import Settings, StorageSettings
from voxqueue.stages import LlmRequest, Stage, SttRequest, SttResult, Task, TtsRequest
from voxqueue.storage import open_store
from workers.steps import create_steps

pytestmark = pytest.mark.unit

SCHEMA = {"type": "object"}
HEARD = SttResult(text="Guten Morgen", language="de", audio_seconds=1.0).as_json()


def prepared(stage: Stage, tmp_path: Any, **wishes: Any) -> Any:
    """The request that a stage's engine gets for a German voice note."""
    store = open_store(Settings(storage=StorageSettings(dir=tmp_path)))
    (tmp_path / "note").write_bytes(b"any")
    job: dict[str, Any] = {
        "id": new_id(),
        "attempt": 1,
        "kind": Kind.VOICE_NOTE,
        "stage": stage,
        "priority": Priority.NORMAL,
        "note_key": "note",
        "note_seconds": 2.5,
        "text": None,
        "language": None,
        "instructions": None,
        "voice": None,
        "audio_format": "ogg",
        "options": Options(),
        "results": {Stage.STT: HEARD, Stage.LLM: {"text": "Moin"}},
        "failures": 0,
        "lost_leases": 0,
        "waited_s": 0.0,
    }
    return create_steps(Settings(), store)[stage].prepare(ClaimedJob(**job | wishes))


def test_speech_to_text_is_told_how_to_listen(tmp_path: Any) -> None:
    options = Options(task=Task.TRANSLATE, prompt="p", hotwords="h", word_timestamps=True)
    request = prepared(Stage.STT, tmp_path, options=options, language="de")
    assert isinstance(request, SttRequest)
    assert (request.task, request.prompt, request.hotwords, request.word_timestamps) == (Task.TRANSLATE, "p", "h", True)
    assert request.language == "de", "what is spoken in the note"
    assert request.duration == 2.5, "else nobody could be told how far it is"
    plain = prepared(Stage.STT, tmp_path)
    assert (plain.task, plain.prompt, plain.hotwords, plain.word_timestamps) == (Task.TRANSCRIBE, None, None, False)


def test_the_language_model_is_given_the_schema(tmp_path: Any) -> None:
    request = prepared(
        Stage.LLM, tmp_path, kind=Kind.REPLY, text="hi", results={}, options=Options(reply_schema=SCHEMA)
    )
    assert request == LlmRequest(text="hi", schema=SCHEMA)


@pytest.mark.parametrize("wished", [None, "de"])
def test_after_a_translation_everything_is_english(tmp_path: Any, wished: str | None) -> None:
    translated = Options(task=Task.TRANSLATE)
    reply = prepared(Stage.LLM, tmp_path, language=wished, options=translated)
    speech = prepared(Stage.TTS, tmp_path, language=wished, options=translated)
    assert (reply, speech) == (LlmRequest("Guten Morgen", language="en"), TtsRequest("Moin", language="en"))
    assert prepared(Stage.TTS, tmp_path, language=wished) == TtsRequest("Moin", language="de")
