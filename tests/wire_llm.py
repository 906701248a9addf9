"""Servers on this machine that speak as Ollama and as OpenAI do, and go wrong as a test wants them to."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from tests.wire import Asked, Said, Wire

Fault = Callable[[Said], Said]
"""Makes what is sent of the right answer to a chat."""


def instead(said: Said) -> Fault:
    """Something else altogether."""
    return lambda right: said


def cut(right: Said) -> Said:
    """The second half never comes."""
    half = len(right.body) // 2
    return Said(right.status, right.body[:half], right.headers, missing=len(right.body) - half)


class LlmServer:
    """What both have in common.

    Attributes:
        models: What is there.
        reply: What is replied to a message.
        whole: Whether a reply comes to its end by itself.
        faults: What goes wrong with the next chats, one after the other.
        gate: Chats wait while it is closed (cleared).
        chats: The body of each chat, in order.
        most_at_once: How many chats there were at the same time.
    """

    def __init__(self, *models: str) -> None:
        self.models = list(models)
        self.reply: Callable[[str], str] = lambda text: f"I heard message {sha256(text.encode()).hexdigest()[:8]}."
        self.whole = True
        self.faults: deque[Fault] = deque()
        self.gate = threading.Event()
        self.gate.set()
        self.chats: list[dict[str, Any]] = []
        self.most_at_once = 0
        self._inside = 0
        self._changed = threading.Condition()
        self.wire = Wire(self._answer)

    @property
    def url(self) -> str:
        return self.wire.url

    def wait_for_chats(self, number: int) -> None:
        """Return once so many chats are under way at the same time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._inside >= number, timeout=30):
                self.gate.set()
                raise AssertionError(f"{self._inside} chats at once, not {number}")

    def close(self) -> None:
        self.gate.set()
        self.wire.close()

    def _answer(self, asked: Asked) -> Said:
        raise NotImplementedError

    def _chat(self, body: dict[str, Any], right: Callable[[str], Said]) -> Said:
        with self._changed:
            self.chats.append(body)
            fault = self.faults.popleft() if self.faults else None
            self._inside += 1
            self.most_at_once = max(self.most_at_once, self._inside)
            self._changed.notify_all()
        try:
            self.gate.wait()
            said = right(self.reply(body["messages"][-1]["content"]))
            return fault(said) if fault else said
        finally:
            with self._changed:
                self._inside -= 1


class OllamaServer(LlmServer):
    """Ollama.

    Attributes:
        in_vram: Which share of a loaded model lies in the GPU's memory.
        tokens: How many tokens it read of the message.
        pulling: What a pull says, line by line; at its end the model is there.
    """

    def __init__(self, *models: str) -> None:
        super().__init__(*models)
        self.in_vram = 1.0
        self.tokens = 30
        self.pulling: list[dict[str, Any]] = [
            {"status": "pulling manifest"},
            {"status": "pulling aaa", "digest": "aaa", "total": 1000},
            {"status": "pulling aaa", "digest": "aaa", "total": 1000, "completed": 500},
            {"status": "pulling aaa", "digest": "aaa", "total": 1000, "completed": 1000},
            {"status": "verifying sha256 digest"},
            {"status": "success"},
        ]
        self.loaded_with: list[dict[str, Any]] = []

    def _answer(self, asked: Asked) -> Said:
        body = json.loads(asked.body or b"{}")
        match asked.path:
            case "/api/ps":
                sizes = {"size": 1000, "size_vram": int(1000 * self.in_vram)}
                return Said.json({"models": [{"model": model, **sizes} for model in self.models]})
            case "/api/pull":
                if self.pulling[-1].get("status") == "success":
                    self.models.append(f"{body['model']}:latest")
                return _lines(self.pulling)
        if f"{body['model']}:latest" not in self.models and body["model"] not in self.models:
            return Said.json({"error": f"model '{body['model']}' not found"}, 404)
        if asked.path == "/api/show":
            return Said.json({"details": {}, "model_info": {}, "capabilities": ["completion"]})
        if not body["messages"]:
            self.loaded_with.append(body)
            return Said.json({"model": body["model"], "done": True, "done_reason": "load", "message": _message("")})
        return self._chat(body, self._say)

    def _say(self, text: str) -> Said:
        half = len(text) // 2
        lines: list[dict[str, Any]] = [
            {"message": _message(part), "done": False} for part in (text[:half], text[half:])
        ]
        reason = "stop" if self.whole else "length"
        end: dict[str, Any] = {
            "message": _message(""),
            "done": True,
            "done_reason": reason,
            "prompt_eval_count": self.tokens,
        }
        return _lines([*lines, end])


class OpenaiServer(LlmServer):
    """A server that speaks OpenAI's chat completions.

    Attributes:
        key: Who does not bring it is turned away.
        lists: Whether it lists its models.
        listing: The list waits while this is cleared, and with it whoever loads a model.
        listed: What it lists in place of them; None for what is there.
        finish: Why a reply ends; None for as `whole` says.
        refusal: What is said in place of a reply.
    """

    def __init__(self, *models: str) -> None:
        super().__init__(*models)
        self.key: str | None = None
        self.lists = True
        self.listing = threading.Event()
        self.listing.set()
        self.listed: list[str] | None = None
        self.finish: str | None = None
        self.refusal: str | None = None

    @property
    def url(self) -> str:
        return f"{self.wire.url}/v1"

    def close(self) -> None:
        self.listing.set()
        super().close()

    def _answer(self, asked: Asked) -> Said:
        brought = {name.lower(): value for name, value in asked.headers.items()}.get("authorization")
        if self.key and brought != f"Bearer {self.key}":
            return problem(401, f"Incorrect API key provided: {brought}")
        if asked.path == "/v1/models" and self.lists:
            self.listing.wait()
            listed = self.models if self.listed is None else self.listed
            return Said.json({"object": "list", "data": [{"id": model, "object": "model"} for model in listed]})
        body = json.loads(asked.body or b"{}")
        if asked.path != "/v1/chat/completions" or body["model"] not in self.models:
            return problem(404, "There is no such thing here")
        return self._chat(body, self._say)

    def _say(self, text: str) -> Said:
        half = len(text) // 2
        deltas = [{"role": "assistant", "content": text[:half]}, {"content": text[half:]}]
        if self.refusal:
            deltas = [{"refusal": self.refusal}]
        finish = self.finish or ("stop" if self.whole else "length")
        choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices += [{"index": 0, "delta": {}, "finish_reason": finish}]
        events = [{"id": "1", "object": "chat.completion.chunk", "choices": [choice]} for choice in choices]
        return stream(*map(json.dumps, events), "[DONE]")


def problem(status: int, message: str, **headers: str) -> Said:
    """An error as OpenAI's servers send it."""
    return Said.json({"error": {"message": message, "type": "error", "code": None}}, status, **headers)


def stream(*events: str) -> Said:
    """Events as OpenAI's servers stream them."""
    body = "".join(f"data: {event}\n\n" for event in events)
    return Said(body=body.encode(), headers={"content-type": "text/event-stream"})


def _message(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _lines(values: list[dict[str, Any]]) -> Said:
    body = "".join(f"{json.dumps(value)}\n" for value in values)
    return Said(body=body.encode(), headers={"content-type": "application/x-ndjson"})


@contextmanager
def ollama(*models: str) -> Iterator[OllamaServer]:
    """An Ollama until the block ends."""
    server = OllamaServer(*models)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def openai(*models: str) -> Iterator[OpenaiServer]:
    """A server that speaks as OpenAI does, until the block ends."""
    server = OpenaiServer(*models)
    try:
        yield server
    finally:
        server.close()
