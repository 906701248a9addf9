"""The engines that ask a server, in front of servers on this machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests import wire_llm
from tests.engines import results
from tests.wire_llm import LlmServer, OllamaServer, OpenaiServer
from voxqueue.errors import EngineUnusable, VoxqueueError
from voxqueue.settings import LlmSettings, OllamaSettings, OpenaiSettings, Settings
from voxqueue.stages import LlmRequest, LlmResult
from workers.engines.llm.ollama import OllamaEngine
from workers.engines.llm.openai import OpenaiEngine
from workers.engines.llm.server import ServerEngine

HELLO = LlmRequest("Hello", language="en")


def ollama_engine(server: LlmServer, **settings: Any) -> OllamaEngine:
    config = OllamaSettings.model_validate({"url": server.url, "model": "tiny", **settings})
    return OllamaEngine(Settings(ollama=config, llm=LlmSettings(reply_tokens=50)))


def openai_engine(server: LlmServer, **settings: Any) -> OpenaiEngine:
    config = OpenaiSettings.model_validate({"url": server.url, "model": "tiny", **settings})
    return OpenaiEngine(Settings(openai=config, llm=LlmSettings(reply_tokens=50)))


@contextmanager
def ollama(**settings: Any) -> Iterator[tuple[OllamaServer, OllamaEngine]]:
    """A server with the model, and the engine that asks it, loaded."""
    with wire_llm.ollama("tiny:latest") as server:
        engine = ollama_engine(server, **settings)
        engine.load()
        try:
            yield server, engine
        finally:
            engine.close()


@contextmanager
def openai(**settings: Any) -> Iterator[tuple[OpenaiServer, OpenaiEngine]]:
    """A server with the model, and the engine that asks it, loaded."""
    with wire_llm.openai("tiny") as server:
        engine = openai_engine(server, **settings)
        engine.load()
        try:
            yield server, engine
        finally:
            engine.close()


LOADED: dict[str, Callable[..., Any]] = {"ollama": ollama, "openai": openai}
both = pytest.mark.parametrize("kind", LOADED)


def ask(engine: ServerEngine, request: LlmRequest = HELLO) -> LlmResult | VoxqueueError:
    (answer,) = results(engine, [request])
    assert isinstance(answer, (LlmResult, VoxqueueError))
    return answer


def error_of(engine: ServerEngine, request: LlmRequest = HELLO) -> VoxqueueError:
    answer = ask(engine, request)
    assert isinstance(answer, VoxqueueError), answer
    return answer


def load_error(engine: ServerEngine) -> str:
    with pytest.raises(EngineUnusable) as caught:
        engine.load()
    return caught.value.detail
