"""The engines that ask a server: what they send, what they make of what goes wrong there, and when they stop asking."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.engines import results
from tests.llm_engines import HELLO, LOADED, ask, both, error_of, ollama, openai
from tests.wire import Said
from tests.wire_llm import Fault, cut, instead, problem, stream
from voxqueue.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineRefused,
    EngineUnavailable,
    Unavailable,
    VoxqueueError,
)
from voxqueue.stages import LlmRequest, LlmResult
from workers.engines.llm.server import Breaker

pytestmark = pytest.mark.unit

KEY = "sk-very-secret"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


# --- what is sent -----------------------------------------------------------------------------------------------------


@both
def test_language_instructions_and_message_reach_the_model(kind: str) -> None:
    with LOADED[kind]() as (server, engine):
        ask(engine, LlmRequest("Wann fährt er?", instructions="Answer as a pirate.", language="de"))
        system, user = server.chats[0]["messages"]
        assert system["role"] == "system"
        assert "Answer in German." in system["content"]
        assert "Answer as a pirate." in system["content"]
        assert user == {"role": "user", "content": "Wann fährt er?"}


def test_ollama_is_asked_with_constant_options_and_loaded_with_the_same() -> None:
    """Another length of context, or a model that is let go, costs everybody who waits a load."""
    with ollama(num_ctx=1024) as (server, engine):
        ask(engine)
        ask(engine, LlmRequest("A much longer message. " * 20))
        assert [chat["options"] for chat in [*server.loaded_with, *server.chats]] == [
            {"num_ctx": 1024, "num_predict": 50}
        ] * 3
        assert {chat["keep_alive"] for chat in [*server.loaded_with, *server.chats]} == {-1}
        assert [chat["think"] for chat in server.chats] == [False, False]


def llama_cpp_part(finish_reason: str | None, delta: dict[str, Any], **more: Any) -> str:
    choice = {"finish_reason": finish_reason, "index": 0, "delta": delta}
    told = {"created": 1795288475, "id": "chatcmpl-u", "model": "tiny.gguf", "system_fingerprint": "b11434"}
    return json.dumps({"choices": [choice], **told, "object": "chat.completion.chunk", **more})


def test_what_llama_cpp_streams_is_read() -> None:
    """Its first part has no content, its thoughts are no part of a reply, and its last part has more than is known."""
    with openai() as (server, engine):
        parts = [
            llama_cpp_part(None, {"role": "assistant", "content": None}),
            llama_cpp_part(None, {"reasoning_content": "Hm."}),
            llama_cpp_part(None, {"content": "At six."}),
            llama_cpp_part("stop", {}, timings={"cache_n": 0, "prompt_n": 21, "prompt_ms": 7.94}),
        ]
        server.faults.append(instead(stream(*parts, "[DONE]")))
        assert ask(engine) == LlmResult("At six.")


def test_openai_bounds_the_reply() -> None:
    with openai() as (server, engine):
        ask(engine)
        assert server.chats[0]["model"] == "tiny"
        assert server.chats[0]["max_tokens"] == 50


@both
def test_a_schema_reaches_the_server_and_its_reply_is_data(kind: str) -> None:
    with LOADED[kind]() as (server, engine):
        server.reply = lambda text: '{"city": "**Köln**"}'
        answer = ask(engine, LlmRequest("Where?", schema=SCHEMA))
        assert answer == LlmResult('{"city": "**Köln**"}', {"city": "**Köln**"})
        (chat,) = server.chats
        sent = chat["format"] if kind == "ollama" else chat["response_format"]["json_schema"]["schema"]
        assert sent == SCHEMA
        server.reply = lambda text: '{"town": "Köln"}'
        assert isinstance(error_of(engine, LlmRequest("Where?", schema=SCHEMA)), EngineFailed)
        assert isinstance(error_of(engine, LlmRequest("Where?", schema={"type": "town"})), EngineRefused)
        assert len(server.chats) == 2, "a schema that is refused costs no call"


def test_a_schema_that_a_server_cannot_follow_is_told_from_other_refusals() -> None:
    """llama.cpp makes a grammar of it, and speaks of samplers and templates where it cannot."""
    with openai() as (server, engine):
        server.faults.append(instead(problem(400, "Failed to initialize samplers: failed to parse grammar")))
        refused = error_of(engine, LlmRequest("Where?", schema=SCHEMA))
        assert type(refused) is EngineRefused
        assert "failed to parse grammar. Perhaps it cannot follow this schema" in refused.detail
        server.faults.append(instead(problem(400, "request (900 tokens) exceeds the available context size")))
        assert "schema" not in error_of(engine, LlmRequest("Where?", schema=SCHEMA)).detail


@both
def test_a_reply_is_tidied_and_one_that_was_cut_ends_with_a_sentence(kind: str) -> None:
    with LOADED[kind]() as (server, engine):
        server.reply = lambda text: "<think>Hm.</think>**It leaves** at six. It arrives at"
        server.whole = False
        assert ask(engine) == LlmResult("It leaves at six.")


# --- what goes wrong --------------------------------------------------------------------------------------------------


def ollama_says(status: int, error: str) -> Fault:
    return instead(Said.json({"error": error}, status))


def unfinished(right: Said) -> Said:
    """Everything but the last line: the server ended, and the connection properly."""
    return Said(body=b"\n".join(right.body.splitlines()[:-1]) + b"\n")


def endless(right: Said) -> Said:
    first = right.body.splitlines()[0]
    return Said(body=(first + b"\n\n" if first.startswith(b"data") else first + b"\n") * 30_000)


def hung_up(right: Said) -> Said:
    """The connection is taken, and closed without a word."""
    raise ConnectionResetError


def ended(right: Said) -> Said:
    """The server ends after the headers, which some send before they have come to a request."""
    return Said(headers=right.headers, missing=len(right.body))


OLLAMA_FAULTS: dict[str, tuple[Fault, type[VoxqueueError], str]] = {
    "bad request": (ollama_says(400, "no such role"), EngineRefused, "no such role"),
    "vanished": (ollama_says(404, "model 'tiny' not found"), EngineUnavailable, "not pulled: ollama pull tiny"),
    "no ollama": (instead(Said(404, b"404 page not found")), EngineUnavailable, "is no Ollama"),
    "broken": (ollama_says(500, "llama runner ended"), EngineFailed, "llama runner ended"),
    "busy": (ollama_says(503, "maximum pending requests"), EngineUnavailable, "maximum pending requests"),
    "gateway": (instead(Said(502, b"<html>")), EngineUnavailable, "502"),
    "late gateway": (instead(Said(504)), DeadlineExceeded, "504: no reason given"),
    "garbage": (instead(Said(body=b"<html>\n")), EngineFailed, "is VOXQUEUE_OLLAMA_URL right?"),
    "mid-stream": (instead(Said(body=b'{"error": "out of luck"}\n')), EngineFailed, "out of luck"),
    "hung up": (hung_up, EngineUnavailable, "hung up before it answered"),
    "ended": (ended, EngineUnavailable, "hung up before it answered"),
    "cut": (cut, EngineFailed, "broke off"),
    "unfinished": (unfinished, EngineFailed, "broke off"),
}


@pytest.mark.parametrize("case", OLLAMA_FAULTS)
def test_each_error_of_ollama_is_told_apart(case: str) -> None:
    fault, error, words = OLLAMA_FAULTS[case]
    with ollama() as (server, engine):
        server.faults.append(fault)
        met = error_of(engine)
        assert type(met) is error
        assert words in met.detail
        assert isinstance(ask(engine), LlmResult), "and the next one is answered"


OPENAI_FAULTS: dict[str, tuple[Fault, type[VoxqueueError], str]] = {
    "bad request": (instead(problem(400, "no such role")), EngineRefused, "no such role"),
    "too long": (
        instead(problem(400, "request (10690 tokens) exceeds the available context size (512 tokens)")),
        EngineRefused,
        "too long for the model: request (10690 tokens)",
    ),
    "too long for vLLM": (
        instead(problem(400, "This model's maximum context length is 2048 tokens. However, you requested 2348.")),
        EngineRefused,
        "too long for the model: This model's maximum",
    ),
    "wrong address": (instead(problem(404, "File Not Found")), EngineUnavailable, "File Not Found. Check VOXQUEUE_"),
    "unprocessable": (instead(problem(422, "no such field")), EngineRefused, "no such field"),
    "fastapi": (instead(Said.json({"detail": "no tiny"}, 400)), EngineRefused, "answered 400: no tiny"),
    "plain words": (instead(Said(500, b"out of luck")), EngineFailed, "answered 500: out of luck"),
    "unauthorised": (instead(problem(401, f"bad key {KEY}")), EngineUnavailable, "check VOXQUEUE_OPENAI_API_KEY"),
    "forbidden": (instead(problem(403, f"bad key {KEY}")), EngineUnavailable, "check VOXQUEUE_OPENAI_API_KEY"),
    "vanished": (instead(problem(404, "no model tiny")), EngineUnavailable, "no model tiny"),
    "too many": (instead(problem(429, "slow down", retry_after="7")), EngineUnavailable, "slow down"),
    "broken": (instead(problem(500, f"oops, {KEY} failed")), EngineFailed, "oops, *** failed"),
    "busy": (instead(problem(503, "Loading model")), EngineUnavailable, "answered 503: Loading model"),
    "late gateway": (instead(Said(504)), DeadlineExceeded, "504"),
    "garbage": (instead(Said(body=b"data: <html>\n\n")), EngineFailed, "is VOXQUEUE_OPENAI_URL right?"),
    "mid-stream": (instead(stream('{"error": {"message": "out of luck"}}')), EngineFailed, "out of luck"),
    "hung up": (hung_up, EngineUnavailable, "hung up before it answered"),
    "ended": (ended, EngineUnavailable, "hung up before it answered"),
    "cut": (cut, EngineFailed, "broke off: peer closed connection"),
    "unfinished": (lambda right: stream(*[]), EngineFailed, "broke off"),
}


@pytest.mark.parametrize("case", OPENAI_FAULTS)
def test_each_error_of_openai_is_told_apart_and_none_shows_the_key(case: str) -> None:
    fault, error, words = OPENAI_FAULTS[case]
    with openai(api_key=KEY) as (server, engine):
        server.key = KEY
        server.faults.append(fault)
        met = error_of(engine)
        assert type(met) is error
        assert words in met.detail
        assert KEY not in met.detail
        assert met.retry_after == (7 if case == "too many" else None)
        assert isinstance(ask(engine), LlmResult), "and the next one is answered"


@both
def test_a_server_that_hangs_or_never_ends_is_late(kind: str) -> None:
    with LOADED[kind](timeout_s=0.3) as (server, engine):
        server.gate.clear()
        assert type(error_of(engine)) is DeadlineExceeded
        server.gate.set()
    with LOADED[kind](timeout_s=0.05) as (server, engine):
        server.faults.append(endless)
        assert type(error_of(engine)) is DeadlineExceeded


def test_a_server_that_only_says_that_it_is_still_there_is_late() -> None:
    """llama.cpp and gateways send empty comments while nothing comes: no read of the connection is ever late."""

    def pings() -> Iterator[bytes]:
        while True:
            time.sleep(0.02)
            yield b":\n\n"

    def pinging(right: Said) -> Said:
        first = right.body.split(b"\n\n")[0]
        return Said(body=first + b"\n\n", headers=right.headers, missing=1_000_000_000, late=pings())

    with openai(timeout_s=0.3) as (server, engine):
        server.faults.append(pinging)
        assert type(error_of(engine)) is DeadlineExceeded


@both
def test_a_server_that_went_away_is_no_fault_of_the_job(kind: str) -> None:
    with LOADED[kind]() as (server, engine):
        server.close()
        met = error_of(engine)
        assert type(met) is EngineUnavailable
        assert isinstance(met, Unavailable), "which is what the runner waits for without counting it"
        assert "does not answer" in met.detail


def test_what_openai_holds_back_is_refused() -> None:
    with openai() as (server, engine):
        server.finish = "content_filter"
        assert "content filter" in error_of(engine).detail
        server.refusal = "I will not do that."
        refused = error_of(engine)
        assert type(refused) is EngineRefused
        assert "I will not do that." in refused.detail


def test_a_message_that_ollama_would_cut_is_refused() -> None:
    with ollama(num_ctx=512) as (server, engine):
        server.tokens = 512
        refused = error_of(engine)
        assert type(refused) is EngineRefused
        assert "VOXQUEUE_OLLAMA_NUM_CTX" in refused.detail


@both
def test_no_more_requests_at_once_than_the_server_runs(kind: str) -> None:
    with LOADED[kind](parallel=3) as (server, engine), ThreadPoolExecutor(1) as thread:
        server.gate.clear()
        asked = thread.submit(results, engine, [LlmRequest(f"Message {number}") for number in range(8)])
        server.wait_for_chats(3)
        server.gate.set()
        answers = asked.result()
        assert server.most_at_once == 3
        assert len({answer.text for answer in answers}) == 8


# --- the breaker ------------------------------------------------------------------------------------------------------

BUSY = {
    "ollama": ollama_says(503, "busy"),
    "openai": instead(problem(503, "busy")),
}


@both
def test_a_server_that_is_away_again_and_again_is_left_alone_and_then_tried_once(kind: str) -> None:
    with LOADED[kind](parallel=4) as (server, engine):
        assert engine.breaker is not None
        server.faults.extend([BUSY[kind]] * 6)
        for _ in range(5):
            assert engine.trouble is None
            assert type(error_of(engine)) is EngineUnavailable
        assert "busy" in engine.trouble
        assert type(error_of(engine)) is EngineUnavailable
        assert len(server.chats) == 5, "the sixth was not sent"

        engine.breaker.pause_s = 0.0
        assert type(error_of(engine)) is EngineUnavailable
        assert len(server.chats) == 6, "one try, which failed"
        assert engine.trouble is not None

        server.gate.clear()
        with ThreadPoolExecutor(1) as thread:
            trying = thread.submit(ask, engine)
            server.wait_for_chats(1)
            assert type(error_of(engine)) is EngineUnavailable
            assert len(server.chats) == 7, "while one tries, the others are not sent"
            server.gate.set()
            assert isinstance(trying.result(), LlmResult)
        assert engine.trouble is None
        assert all(isinstance(answer, LlmResult) for answer in results(engine, [HELLO] * 4))


@both
def test_errors_of_a_server_that_answers_do_not_open_the_breaker(kind: str) -> None:
    bad = {"ollama": ollama_says(400, "no"), "openai": instead(problem(400, "no"))}[kind]
    with LOADED[kind]() as (server, engine):
        server.faults.extend([BUSY[kind]] * 4 + [bad] + [BUSY[kind]] * 4 + [bad] * 6)
        for _ in range(15):
            error_of(engine)
        assert engine.trouble is None
        assert isinstance(ask(engine), LlmResult)


def test_calls_through_the_breaker_do_not_wait_for_each_other() -> None:
    """The library's plain call holds a lock for as long as it takes: a server would get one request at a time."""
    breaker = Breaker()
    with ThreadPoolExecutor(1) as thread:
        assert breaker.call(lambda: thread.submit(breaker.call, lambda: "inner").result(timeout=30)) == "inner"
