"""What a caller wishes of an engine is heeded, refused, or told to be ignored: never dropped in silence."""

from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from typing import Any

import pytest

from tests.engines import answered
from tests.models.sentences import ENGLISH, GERMAN, WHISPER, speak
from voxqueue.errors import EngineRefused, VoxqueueError
from voxqueue.models import WHISPER_SIZES
from voxqueue.settings import FakeSettings, Settings, WhisperSettings
from voxqueue.stages import LlmRequest, Stage, SttRequest, Task, TtsRequest
from workers.engines.base import AnyEngine
from workers.engines.llm.echo import EchoEngine
from workers.engines.registry import ENGINES
from workers.engines.stt.fake import FakeSttEngine
from workers.engines.stt.faster_whisper import FasterWhisperEngine
from workers.engines.stt.pocketsphinx import PocketsphinxEngine
from workers.engines.tts.espeak import EspeakEngine

pytestmark = pytest.mark.unit

INSTANT = Settings(fake=FakeSettings(load_ms=0, fixed_ms=0, per_item_ms=0))
REQUESTS: dict[Stage, type[Any]] = {Stage.STT: SttRequest, Stage.LLM: LlmRequest, Stage.TTS: TtsRequest}


def told(engine: AnyEngine, request: Any) -> Sequence[str]:
    """The degradations of a request, which must have an answer."""
    [answer] = answered(engine, [request])
    assert not isinstance(answer, VoxqueueError), answer
    return answer.degradations


def refused(engine: AnyEngine, request: Any) -> str:
    [answer] = answered(engine, [request])
    assert isinstance(answer, EngineRefused), answer
    return answer.detail


@pytest.mark.parametrize(("stage", "place"), [(stage, place) for stage in Stage for place in ENGINES[stage].values()])
def test_what_an_engine_ignores_is_a_wish_that_there_is(stage: Stage, place: str) -> None:
    """Else a misspelt one would raise in every request."""
    module, _, name = place.partition(":")
    wishes = {field.name for field in fields(REQUESTS[stage])}
    assert set(getattr(import_module(module), name).ignores) <= wishes


# --- echo -------------------------------------------------------------------------------------------------------------


def test_echo_says_that_it_ignores_instructions() -> None:
    """A caller who gave some would otherwise look for the mistake in them."""
    echo = EchoEngine(INSTANT)
    assert told(echo, LlmRequest("Good morning.", instructions="Answer as a pirate.")) == ("echo ignores instructions",)
    for blank in (None, "", " \n"):
        assert told(echo, LlmRequest("Good morning.", instructions=blank)) == ()


def test_echo_says_that_it_answers_in_english() -> None:
    echo = EchoEngine(INSTANT)
    assert told(echo, LlmRequest("Guten Morgen.", language="de")) == ("echo answers in English, not in 'de'",)
    assert told(echo, LlmRequest("Good morning.", language="en")) == ()


# --- speech to text ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whisper() -> Any:
    engine = FasterWhisperEngine(Settings(whisper=WhisperSettings(model=str(WHISPER))))
    engine.load()
    yield engine
    engine.close()


def test_whisper_says_that_a_prompt_was_longer_than_it_reads(whisper: FasterWhisperEngine) -> None:
    """It reads the end of it, and the hotwords stand at the beginning."""
    spoken = speak(ENGLISH[0])
    [how] = told(whisper, SttRequest([spoken], language="en", hotwords="table, dog", prompt="dog " * 1_000))
    assert "only the last 214 of " in how
    assert "hotwords and prompt" in how
    assert told(whisper, SttRequest([spoken], language="en", hotwords="table, dog", prompt="dog")) == ()


def test_whispers_that_speak_english_alone_refuse_other_languages(
    whisper: FasterWhisperEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Distilled ones have a multilingual vocabulary, so that they take German for English without a word."""
    monkeypatch.setattr(whisper, "_repo", WHISPER_SIZES["distil-large-v3"])
    german = speak(GERMAN[0])
    assert "VOXQUEUE_WHISPER_MODEL" in refused(whisper, SttRequest([german], language="de"))
    assert "cannot translate" in refused(whisper, SttRequest([german], task=Task.TRANSLATE))
    [answer] = answered(whisper, [SttRequest([speak(ENGLISH[0])])])
    assert not isinstance(answer, VoxqueueError)
    assert (answer.result.language, answer.result.text) == ("en", ENGLISH[0].text)


def test_a_whisper_that_was_not_trained_to_translate_refuses_to(
    whisper: FasterWhisperEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turbo answers in the language of the note, whatever it is told."""
    monkeypatch.setattr(whisper, "_repo", WHISPER_SIZES["turbo"])
    german = speak(GERMAN[0])
    assert "cannot translate" in refused(whisper, SttRequest([german], task=Task.TRANSLATE))
    assert told(whisper, SttRequest([german], language="de")) == ()


def test_pocketsphinx_refuses_to_translate() -> None:
    """Whoever asks for that has a note in another language, of which it would make English words at random."""
    engine = PocketsphinxEngine(INSTANT)
    engine.load()
    try:
        assert "cannot translate" in refused(engine, SttRequest([speak(ENGLISH[0])], task=Task.TRANSLATE))
    finally:
        engine.close()


def test_the_fake_says_what_it_ignores() -> None:
    fake = FakeSttEngine(INSTANT)
    assert told(fake, SttRequest([speak(ENGLISH[0])], prompt="x", hotwords="y")) == (
        "fake ignores prompt",
        "fake ignores hotwords",
    )


# --- text to speech ---------------------------------------------------------------------------------------------------


def test_espeak_says_that_a_voice_is_for_another_language() -> None:
    """The voice wins, and German is then read as if it were English."""
    espeak = EspeakEngine(INSTANT)
    espeak.load()
    [how] = told(espeak, TtsRequest("Guten Morgen.", voice="en-us+f3", language="de"))
    assert "'de'" in how
    assert "'en-us+f3'" in how
    for voice, language in (("en-gb", "en"), ("pt-BR", "pt"), ("cmn", "zh"), ("de", None), (None, "de")):
        assert told(espeak, TtsRequest("One two.", voice=voice, language=language)) == ()
