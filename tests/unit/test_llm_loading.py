"""How the engines that ask a server get there: what is missing is said in one line, and readiness tells the truth."""

import json
from itertools import groupby
from typing import Any

import pytest

from tests import wire_llm
from tests.llm_engines import LOADED, ask, both, error_of, load_error, ollama_engine, openai_engine
from tests.wire import Said
from voxqueue.errors import EngineUnavailable
from voxqueue.fleet import EngineStatus, StageReport
from voxqueue.settings import LlmSettings, OllamaSettings, Settings
from voxqueue.stages import LlmResult, Stage
from workers.engines.llm.ollama import OllamaEngine
from workers.warmup import Warmup

pytestmark = pytest.mark.unit

KEY = "sk-very-secret"
MAKE = {"ollama": ollama_engine, "openai": openai_engine}


# --- loading: ollama --------------------------------------------------------------------------------------------------


def test_without_ollama_it_is_said_how_to_start_it() -> None:
    with wire_llm.ollama() as server:
        engine = ollama_engine(server)
    assert load_error(engine) == (
        f"Ollama does not answer at {server.url}: start it with `ollama serve`, or set VOXQUEUE_OLLAMA_URL."
    )


def test_a_model_that_is_not_pulled_is_named_with_the_way_to_get_it() -> None:
    with wire_llm.ollama("other:latest") as server:
        assert load_error(ollama_engine(server)) == "model tiny is not pulled: ollama pull tiny"
        assert server.models == ["other:latest"]


def test_a_model_is_pulled_where_the_settings_allow_it() -> None:
    with wire_llm.ollama() as server:
        engine = ollama_engine(server, pull=True)
        told: list[tuple[str, float]] = []
        engine.on_progress = lambda what, share: told.append((what, share))
        engine.load()
        assert told == [("pulling tiny", 0.0), ("pulling tiny", 0.5), ("pulling tiny", 1.0)]
        assert isinstance(ask(engine), LlmResult)
        engine.close()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([{"error": "pull model manifest: file does not exist"}], "could not pull tiny: pull model manifest"),
        ([{"status": "pulling manifest"}], "broke off pulling tiny at 'pulling manifest'"),
    ],
)
def test_a_pull_that_fails_says_why(lines: list[dict[str, Any]], words: str) -> None:
    with wire_llm.ollama() as server:
        server.pulling = lines
        assert words in load_error(ollama_engine(server, pull=True))


@pytest.mark.parametrize(("in_vram", "device"), [(1.0, "gpu"), (0.6, "gpu 60 %"), (0.0, "cpu")])
def test_it_is_said_where_ollama_runs_the_model(in_vram: float, device: str) -> None:
    with wire_llm.ollama("tiny:latest") as server:
        server.in_vram = in_vram
        engine = ollama_engine(server)
        engine.load()
        assert engine.device == device
        engine.close()


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("pull", [False, True])
def test_a_server_that_is_no_ollama_is_told_apart_from_one_without_the_model(pull: bool, key: str | None) -> None:
    with wire_llm.openai("tiny") as server:
        server.key = key
        detail = load_error(ollama_engine(server, url=server.wire.url, pull=pull))
        assert "is no Ollama" in detail
        assert "VOXQUEUE_OPENAI_URL" in detail


@both
def test_an_address_is_shown_without_its_login(kind: str) -> None:
    make = MAKE[kind]
    with LOADED[kind]() as (server, _):
        url = server.url.replace("//", "//me:hidden@")
    detail = load_error(make(server, url=url))
    assert "127.0.0.1" in detail
    assert "hidden" not in detail


# --- loading: openai --------------------------------------------------------------------------------------------------


def test_openai_takes_the_only_model_that_there_is() -> None:
    with wire_llm.openai("lonely") as server:
        engine = openai_engine(server, model=None)
        engine.load()
        assert engine.model == "lonely"
        assert isinstance(ask(engine), LlmResult)
        engine.close()


@pytest.mark.parametrize(
    ("listed", "shown"), [("/srv/models/lonely.gguf", "lonely.gguf"), ("org/lonely", "org/lonely")]
)
def test_the_model_that_answers_is_shown_whatever_is_asked_for(
    listed: str, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    """llama.cpp answers to any name. Where on the server a model lies is nobody's business."""
    with wire_llm.openai(listed, "asked-for") as server:
        server.listed = [listed]
        engine = openai_engine(server, model="asked-for")
        engine.load()
        assert engine.model == shown
        assert f"has only the model {listed}, and is asked for asked-for" in caplog.text
        ask(engine)
        assert server.chats[0]["model"] == "asked-for"
        engine.close()


@pytest.mark.parametrize(("models", "words"), [(("a", "b"), "a, b"), ((), "it has none now")])
def test_openai_asks_for_the_model_s_name_where_it_is_not_clear(models: tuple[str, ...], words: str) -> None:
    with wire_llm.openai(*models) as server:
        detail = load_error(openai_engine(server, model=None))
        assert "Set VOXQUEUE_OPENAI_MODEL" in detail
        assert words in detail


def test_a_server_need_not_list_its_models() -> None:
    with wire_llm.openai("tiny") as server:
        server.lists = False
        engine = openai_engine(server)
        engine.load()
        assert isinstance(ask(engine), LlmResult)
        engine.close()
        assert "Set VOXQUEUE_OPENAI_MODEL" in load_error(openai_engine(server, model=None))


def test_the_key_is_sent_and_a_wrong_one_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
    with wire_llm.openai("tiny") as server:
        server.key = KEY
        engine = openai_engine(server, api_key=KEY)
        engine.load()
        engine.close()
        detail = load_error(openai_engine(server, api_key="sk-wrong"))
        assert "VOXQUEUE_OPENAI_API_KEY" in detail
        assert "sk-wrong" not in detail
        assert "it wants a key, set VOXQUEUE_OPENAI_API_KEY" in load_error(openai_engine(server))
        assert "sk-of-somebody-else" not in json.dumps([asked.headers for asked in server.wire.asked])


@both
def test_called_before_it_is_loaded_is_an_error_not_a_crash(kind: str) -> None:
    with wire_llm.openai() as server:
        engine = MAKE[kind](server)
        assert "before it was loaded" in error_of(engine).detail


def test_an_address_that_is_none_is_one_line() -> None:
    with wire_llm.openai() as server:
        assert "VOXQUEUE_OPENAI_URL" in load_error(openai_engine(server, url="http://[bad"))
        assert "VOXQUEUE_OLLAMA_URL" in load_error(ollama_engine(server, url="http://[bad"))


# --- readiness --------------------------------------------------------------------------------------------------------


def warmed(server: wire_llm.OllamaServer, **settings: Any) -> tuple[Warmup, list[StageReport]]:
    """A worker's engine warmed in front of this server, and all that was reported on the way."""
    seen: list[StageReport] = []
    config = OllamaSettings.model_validate({"url": server.url, "model": "tiny", **settings})
    warmup = Warmup(
        [Stage.LLM],
        Settings(llm=LlmSettings(engines=("ollama",)), ollama=config),
        lambda: seen.append(warmup.snapshot()[Stage.LLM]),
    )
    warmup.warm(Stage.LLM)
    for served in warmup.served.values():
        served.stop(wait_s=5)
    return warmup, seen


def test_a_pull_is_seen_in_the_report_and_does_not_run_backwards() -> None:
    with wire_llm.ollama() as server:
        second = [{"status": "pulling bbb", "digest": "bbb", "total": 1000, "completed": part} for part in (1, 1000)]
        server.pulling[-1:-1] = second
        warmup, seen = warmed(server, pull=True)
        assert [detail for detail, _ in groupby(report.detail for report in seen)] == [
            None,
            "pulling tiny: 0 %",
            "pulling tiny: 50 %",
            "pulling tiny: 100 %",
            None,
        ]
        progress = [report.progress for report in seen]
        assert progress == sorted(progress)
        assert warmup.snapshot()[Stage.LLM].detail is None
        assert warmup.snapshot()[Stage.LLM].status is EngineStatus.READY
        warmup.served[Stage.LLM].engine.close()


def test_the_report_shows_a_server_that_went_away_and_that_it_is_back() -> None:
    """Else the fleet would be called ready while every job waits."""
    with wire_llm.ollama("tiny:latest") as server:
        warmup, _ = warmed(server)
        engine = warmup.served[Stage.LLM].engine
        assert isinstance(engine, OllamaEngine)
        assert engine.breaker is not None
        server.faults.extend([wire_llm.instead(Said(503, b"busy"))] * 5)
        for _ in range(5):
            assert type(error_of(engine)) is EngineUnavailable
        report = warmup.snapshot()[Stage.LLM]
        assert report.status is EngineStatus.FAILED
        assert report.progress < 100
        assert "busy" in (report.error or "")

        engine.breaker.pause_s = 0.0
        assert isinstance(ask(engine), LlmResult)
        report = warmup.snapshot()[Stage.LLM]
        assert (report.status, report.progress, report.error) == (EngineStatus.READY, 100, None)
        engine.close()
