"""The language model by any server that speaks OpenAI's chat completions: vLLM, llama.cpp, hosted ones, OpenAI."""

import time
from typing import TYPE_CHECKING, Any

from voxqueue.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineRefused,
    EngineUnavailable,
    EngineUnusable,
    VoxqueueError,
)
from voxqueue.settings import Settings
from voxqueue.urls import without_login
from workers.engines.llm.server import CONNECT_S, ServerEngine, explain_status
from workers.engines.llm.speaking import Prompt, Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import openai
    from openai.types.chat import ChatCompletionChunk

_MOST_NAMES = 10
_TURNED_AWAY = (401, 403)


class OpenaiEngine(ServerEngine):
    """Chats with one model of a server."""

    name = "openai"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, settings.openai.timeout_s)
        self.parallel = settings.openai.parallel
        self._url = settings.openai.address
        self._key = settings.openai.api_key.get_secret_value() if settings.openai.api_key else ""
        self._client: openai.OpenAI | None = None

    def connect(self) -> None:
        self._client = self._open()
        self.model = self._find_model(self._client)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _open(self) -> "openai.OpenAI":
        import openai

        return openai.OpenAI(
            base_url=self._url,
            api_key=self._key or "none",  # else the library sends this server what OPENAI_API_KEY holds
            timeout=openai.Timeout(self.timeout_s, connect=CONNECT_S),
            max_retries=0,  # what may be tried again is the job
        )

    def _find_model(self, client: "openai.OpenAI") -> str:
        """The model in the settings, or the only one that the server has."""
        import openai

        named = self.settings.openai.model
        try:
            known = [model.id for model in client.models.list()]
        except openai.APIStatusError as error:
            if named and error.status_code not in _TURNED_AWAY:
                return named  # a server need not list its models; warming up shows whether it has this one
            if error.status_code == 404:
                raise EngineUnusable(f"Set VOXQUEUE_OPENAI_MODEL: {self._shown} does not list its models.") from error
            raise
        if named or len(known) == 1:
            return named or known[0]
        names = ", ".join(known[:_MOST_NAMES]) or "it has none now"
        raise EngineUnusable(f"Set VOXQUEUE_OPENAI_MODEL to a model of {self._shown}: {names}.")

    def chat(self, prompt: Prompt) -> Written:
        assert self._client is not None
        # Streamed, so that a server which writes without end is left in time.
        late_at = time.monotonic() + self.timeout_s
        said: list[str] = []
        reason: str | None = None
        asked: dict[str, Any] = {"model": self.model, "messages": prompt.messages, "stream": True}
        with self._client.chat.completions.create(**asked, **self._limits(prompt)) as chunks:
            for chunk in self._unbroken(chunks):
                for choice in chunk.choices[:1]:
                    if choice.delta.refusal:
                        raise EngineRefused(f"The model refused to answer: {choice.delta.refusal}"[:300])
                    said.append(choice.delta.content or "")
                    reason = choice.finish_reason or reason
                if time.monotonic() > late_at:
                    raise self._late()
        if reason is None:
            raise EngineFailed(f"The reply of {self._shown} broke off.")
        if reason == "content_filter":
            raise EngineRefused("The server's content filter held the reply back.")
        return Written("".join(said), cut=reason == "length")

    def _unbroken(self, chunks: "Iterable[ChatCompletionChunk]") -> "Iterator[ChatCompletionChunk]":
        """The parts of an answer. The server is there, so the request may be to blame for what breaks it off."""
        import httpx2
        import openai

        try:
            yield from chunks
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, httpx2.TimeoutException):
                raise
            raise EngineFailed(f"The reply of {self._shown} broke off: {self._said(error)}"[:300]) from error

    def _limits(self, prompt: Prompt) -> dict[str, Any]:
        # OpenAI's newer models know only the one word, and many other servers only the other.
        word = "max_tokens" if self.settings.openai.url else "max_completion_tokens"
        limits: dict[str, Any] = {word: self.settings.llm.reply_tokens}
        if prompt.schema is not None:  # not `strict`, which takes few schemas
            limits["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "schema": prompt.schema},
            }
        return limits

    @property
    def _shown(self) -> str:
        return f"the server at {without_login(self._url)}"

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"The reply of {self._shown} was not finished within {self.timeout_s:g} s.")

    def explain(self, error: Exception) -> VoxqueueError:
        import httpx2
        import openai

        server = self._shown[0].upper() + self._shown[1:]
        match error:
            case openai.APIStatusError(status_code=status) if status in _TURNED_AWAY:
                return EngineUnavailable(f"{server} answered {status}: check VOXQUEUE_OPENAI_API_KEY.")
            case openai.APIStatusError():
                retry_after = error.response.headers.get("retry-after")
                return explain_status(error.status_code, server, self._said(error), retry_after)
            case openai.APIConnectionError(__cause__=httpx2.ReadTimeout() | httpx2.WriteTimeout()):
                return self._late()
            case openai.APIConnectionError(__cause__=httpx2.ConnectError() | httpx2.TimeoutException()):
                return EngineUnavailable(f"{server} does not answer: start it, or set VOXQUEUE_OPENAI_URL.")
            case openai.APIConnectionError(__cause__=httpx2.NetworkError() | httpx2.ProtocolError()):
                return EngineUnavailable(f"{server} hung up before it answered: does it lack memory?")
            case openai.APIError() | httpx2.TransportError():
                return EngineFailed(f"{server} broke off: {self._said(error)}"[:300])
        return EngineFailed(
            f"{server} does not speak as OpenAI does ({type(error).__name__}): is VOXQUEUE_OPENAI_URL right?"
        )

    def _said(self, error: Exception) -> str:
        """What the server says of an error. Some repeat the key there."""
        body = getattr(error, "body", None)
        said = (body.get("message") or body.get("detail")) if isinstance(body, dict) else body
        text = str(said or error)
        return text.replace(self._key, "***") if self._key else text
