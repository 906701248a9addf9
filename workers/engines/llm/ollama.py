"""The language model by Ollama, which loads the model and shares it among the requests that it runs in parallel."""

import time
from typing import TYPE_CHECKING

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
    import ollama

_NOT_THERE = (404, 405, 501)
_LOADING_S = 900.0  # silence while tens of gigabytes come from a slow disk, or while a download stalls


class OllamaEngine(ServerEngine):
    """Chats with one model, which it keeps in the server's memory."""

    name = "ollama"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, settings.ollama.timeout_s)
        config = settings.ollama
        self.parallel = config.parallel
        self.model = config.model
        # The same for every request: Ollama loads the model anew when the length of its context changes.
        self._options = {"num_ctx": config.num_ctx, "num_predict": settings.llm.reply_tokens}
        self._client: ollama.Client | None = None

    def connect(self) -> None:
        with self._open(_LOADING_S) as client:
            self._bring_model(client)
            self.device = _device(client, self.model)
        self._client = self._open(self.timeout_s)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    def _open(self, timeout_s: float) -> "ollama.Client":
        import httpx
        import ollama

        return ollama.Client(self.settings.ollama.url, timeout=httpx.Timeout(timeout_s, connect=CONNECT_S))

    def _bring_model(self, client: "ollama.Client") -> None:
        """Into the server's memory, and before that onto its disk where the settings allow it."""
        import ollama

        try:
            client.show(self.model)
        except ollama.ResponseError as error:
            if not _lacks_model(error) or not self.settings.ollama.pull:
                raise
            self._pull(client)
        client.chat(self.model, [], options=self._options, keep_alive=-1)

    def _pull(self, client: "ollama.Client") -> None:
        import ollama

        layers: dict[str, tuple[int, int]] = {}
        status, furthest = None, 0.0
        try:
            for step in client.pull(self.model, stream=True):
                status = step.status
                if step.digest and step.total:
                    layers[step.digest] = step.completed or 0, step.total
                    done, total = map(sum, zip(*layers.values(), strict=True))
                    furthest = max(furthest, done / total)  # a layer that begins makes the whole larger
                    self.on_progress(f"pulling {self.model}", furthest)
        except ollama.ResponseError as error:
            raise EngineUnusable(f"Ollama could not pull {self.model}: {error.error}") from error
        if status != "success":
            raise EngineUnusable(
                f"Ollama broke off pulling {self.model} at {status!r}. Try `ollama pull {self.model}`."
            )

    def chat(self, prompt: Prompt) -> Written:
        import httpx

        assert self._client is not None
        # Streamed, so that a server which writes without end is left in time.
        late_at = time.monotonic() + self.timeout_s
        said: list[str] = []
        last: ollama.ChatResponse | None = None
        try:
            for part in self._client.chat(
                self.model,
                prompt.messages,
                stream=True,
                think=False,
                format=prompt.schema,
                options=self._options,
                keep_alive=-1,
            ):
                last = part
                said.append(part.message.content or "")
                if time.monotonic() > late_at:
                    raise self._late()
        except (httpx.NetworkError, httpx.ProtocolError) as error:
            if last is None:
                raise
            raise EngineFailed(f"Ollama broke off: {error}"[:300]) from error
        if last is None or not last.done:
            raise EngineFailed("Ollama's reply broke off.")
        self._check_fits(last.prompt_eval_count or 0)
        return Written("".join(said), cut=last.done_reason == "length")

    def _check_fits(self, tokens: int) -> None:
        """Ollama cuts what is longer than its context, and says so nowhere but here."""
        num_ctx = self.settings.ollama.num_ctx
        if tokens >= num_ctx:
            raise EngineRefused(
                f"The message and its instructions are longer than the {num_ctx} tokens that Ollama reads. "
                "Raise VOXQUEUE_OLLAMA_NUM_CTX."
            )

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"Ollama did not finish the reply within {self.timeout_s:g} s.")

    def explain(self, error: Exception) -> VoxqueueError:
        import httpx
        import ollama

        url = without_login(self.settings.ollama.url)
        match error:
            case ollama.ResponseError() if _lacks_model(error):
                return EngineUnavailable(f"model {self.model} is not pulled: ollama pull {self.model}")
            case ollama.ResponseError() if error.status_code in _NOT_THERE or not isinstance(error.error, str):
                return EngineUnavailable(
                    f"What answers at {url} is no Ollama. Set VOXQUEUE_OLLAMA_URL; or, if it speaks as OpenAI does, "
                    "take the engine openai and set VOXQUEUE_OPENAI_URL."
                )
            case ollama.ResponseError(status_code=status) if status > 0:
                return explain_status(status, f"Ollama at {url}", str(error.error))
            case ollama.ResponseError():
                return EngineFailed(f"Ollama broke off with an error: {error.error}"[:300])
            case ConnectionError() | httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
                return EngineUnavailable(
                    f"Ollama does not answer at {url}: start it with `ollama serve`, or set VOXQUEUE_OLLAMA_URL."
                )
            case httpx.TimeoutException():
                return self._late()
            case httpx.NetworkError() | httpx.ProtocolError():  # nothing of a reply had come: see `chat`
                return EngineUnavailable(f"Ollama at {url} hung up before it answered: does it lack memory?")
            case httpx.TransportError():
                return EngineFailed(f"Ollama broke off: {error}"[:300])
        odd = f"What answers at {url} does not speak as Ollama does ({type(error).__name__})"
        return EngineFailed(f"{odd}: is VOXQUEUE_OLLAMA_URL right?")


def _lacks_model(error: "ollama.ResponseError") -> bool:
    """Whether Ollama says that it has no such model; others say 404 of everything that only Ollama has."""
    return error.status_code == 404 and isinstance(error.error, str) and "model" in error.error


def _device(client: "ollama.Client", model: str) -> str:
    """Where the server keeps the model: ``gpu``, ``cpu``, or ``gpu 60 %`` where the rest is on the CPU."""
    for loaded in client.ps().models:
        if loaded.model in (model, f"{model}:latest"):
            share = (loaded.size_vram or 0) / (loaded.size or 1)
            return "gpu" if share >= 1 else f"gpu {100 * share:.0f} %" if share > 0 else "cpu"
    return "remote"
