"""The language model by any server that speaks OpenAI's chat completions: vLLM, llama.cpp, hosted ones, OpenAI."""

import logging
import re
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

log = logging.getLogger(__name__)

_MOST_NAMES = 10
_TURNED_AWAY = (401, 403)
_TOO_LONG = re.compile("context (size|length)", re.IGNORECASE)  # llama.cpp; OpenAI and vLLM


class OpenaiEngine(ServerEngine):
    """Chats with one model of a server."""

    name = "openai"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, settings.openai.timeout_s)
        self.parallel = settings.openai.parallel
        self._url = settings.openai.address
        self._key = settings.openai.api_key.get_secret_value() if settings.openai.api_key else ""
        self._asked = ""  # for which model: not always the one that answers
        self._client: openai.OpenAI | None = None

    def connect(self) -> None:
        self._client = self._open()
        listed = self._listed(self._client)
        self._asked = self._choose(listed)
        runs = listed[0] if len(listed) == 1 else self._asked
        if runs != self._asked:  # llama.cpp answers to any name
            log.warning("%s has only the model %s, and is asked for %s", self._shown, runs, self._asked)
        self.model = runs.rsplit("/", 1)[-1] if runs.startswith("/") else runs

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _open(self) -> "openai.OpenAI":
        import openai

        from workers.engines.llm.in_time import in_time

        return openai.OpenAI(
            base_url=self._url,
            api_key=self._key or "none",  # else the library sends this server what OPENAI_API_KEY holds
            http_client=openai.DefaultHttpxClient(event_hooks=in_time(self.timeout_s)),
            timeout=openai.Timeout(self.timeout_s, connect=CONNECT_S),
            max_retries=0,  # what may be tried again is the job
        )

    def _listed(self, client: "openai.OpenAI") -> list[str]:
        """The models that the server says it has; none where it says nothing and need not."""
        import openai

        try:
            return [model.id for model in client.models.list()]
        except openai.APIStatusError as error:
            if self.settings.openai.model and error.status_code not in _TURNED_AWAY:
                return []  # warming up shows whether it has this one
            if error.status_code == 404:
                raise EngineUnusable(f"Set VOXQUEUE_OPENAI_MODEL: {self._shown} does not list its models.") from error
            raise

    def _choose(self, listed: list[str]) -> str:
        """The model in the settings, or the only one that the server has."""
        named = self.settings.openai.model
        if named or len(listed) == 1:
            return named or listed[0]
        names = ", ".join(listed[:_MOST_NAMES]) or "it has none now"
        raise EngineUnusable(f"Set VOXQUEUE_OPENAI_MODEL to a model of {self._shown}: {names}.")

    def chat(self, prompt: Prompt) -> Written:
        assert self._client is not None
        said: list[str] = []
        reason: str | None = None
        with self._begin(self._client, prompt) as chunks:
            for chunk in self._unbroken(chunks):
                for choice in chunk.choices[:1]:
                    if choice.delta.refusal:
                        raise EngineRefused(f"The model refused to answer: {choice.delta.refusal}"[:300])
                    said.append(choice.delta.content or "")
                    reason = choice.finish_reason or reason
        if reason is None:
            raise EngineFailed(f"The reply of {self._shown} broke off.")
        if reason == "content_filter":
            raise EngineRefused("The server's content filter held the reply back.")
        return Written("".join(said), cut=reason == "length")

    def _begin(self, client: "openai.OpenAI", prompt: Prompt) -> "openai.Stream[ChatCompletionChunk]":
        import openai

        # Streamed, so that a server which writes without end is left in time.
        asked: dict[str, Any] = {"model": self._asked, "messages": prompt.messages, "stream": True}
        try:
            chunks: openai.Stream[ChatCompletionChunk] = client.chat.completions.create(**asked, **self._limits(prompt))
        except openai.BadRequestError as error:
            refused = self.explain(error)
            if prompt.schema is None or _TOO_LONG.search(refused.detail):
                raise refused from error
            raise EngineRefused(f"{refused.detail} Perhaps it cannot follow this schema: make that simpler.") from error
        return chunks

    def _unbroken(self, chunks: "Iterable[ChatCompletionChunk]") -> "Iterator[ChatCompletionChunk]":
        """The parts of an answer. Once the first has come, the request may be to blame for what breaks it off."""
        import httpx2
        import openai

        has_begun = False
        try:
            for chunk in chunks:
                has_begun = True
                yield chunk
        except openai.APIConnectionError as error:
            if not has_begun or isinstance(error.__cause__, httpx2.TimeoutException):
                raise
            raise EngineFailed(f"The reply of {self._shown} broke off: {error.__cause__ or error}"[:300]) from error

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
                do = "check" if self._key else "it wants a key, set"
                return EngineUnavailable(f"{server} answered {status}: {do} VOXQUEUE_OPENAI_API_KEY.")
            case openai.APIStatusError(status_code=404):
                check = "Check VOXQUEUE_OPENAI_URL, most end in /v1, and VOXQUEUE_OPENAI_MODEL."
                return EngineUnavailable(f"{server} answered 404: {self._sentence(error)} {check}")
            case openai.BadRequestError() if _TOO_LONG.search(self._said(error)):
                return EngineRefused(
                    f"The text and its instructions are too long for the model: {self._sentence(error)} "
                    "Shorten them, or give the server a longer context."
                )
            case openai.BadRequestError():
                return EngineRefused(f"{server} answered 400: {self._sentence(error)}")
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

    def _sentence(self, error: Exception) -> str:
        return f"{self._said(error)[:300].strip().rstrip('.')}."

    def _said(self, error: Exception) -> str:
        """What the server says of an error. Some repeat the key there."""
        body = getattr(error, "body", None)
        said = (body.get("message") or body.get("detail")) if isinstance(body, dict) else body
        text = str(said or error)
        return text.replace(self._key, "***") if self._key else text
