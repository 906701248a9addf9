"""What engines that ask a server share: errors told apart by status, and a circuit breaker. Knows no protocol."""

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from voxqueue.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineRefused,
    EngineUnavailable,
    EngineUnusable,
    VoxqueueError,
)
from voxqueue.extras import require
from voxqueue.settings import Settings
from workers.engines.llm.speaking import Prompt, SpeakingEngine, Written

T = TypeVar("T")

CONNECT_S = 5.0
_FAILURES = 5
_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 600.0

_REFUSED = {400, 413, 422}
_AWAY = {401, 402, 403, 404, 429, 502, 503, 529}  # an operator or time mends these; the request is not to blame
_LATE = {408, 504}


class ServerEngine(SpeakingEngine):
    """A language model behind a server, which does the batching.

    Adapters write `connect`, `chat` and `explain`, with the library that is called as the engine is.

    Attributes:
        timeout_s: Longest that one reply may take.
    """

    max_batch = 1
    device = "remote"

    def __init__(self, settings: Settings, timeout_s: float) -> None:
        super().__init__(settings)
        self.breaker: Breaker | None = None
        # A silence and a reply may each take as long: past the deadline, the worker itself would be given up.
        self.timeout_s = min(timeout_s, settings.llm.deadline_s / 2)

    @property
    def trouble(self) -> str | None:
        return self.breaker.trouble if self.breaker else None

    def load(self) -> None:
        super().load()
        require(self.name, "llm", f"The client of {self.name}")
        self.close()
        try:
            self.connect()
        except Exception as error:
            self.close()
            raise EngineUnusable(self._explained(error).detail) from error
        self.breaker = Breaker()

    @abstractmethod
    def connect(self) -> None:
        """Reach the server, and see to it that the model is there. Raises whatever the library raises."""

    @abstractmethod
    def chat(self, prompt: Prompt) -> Written:
        """Have one reply written. Raises whatever the library raises."""

    @abstractmethod
    def explain(self, error: Exception) -> VoxqueueError:
        """What an error of the library means. `EngineUnavailable`: the server is away, or wants to be left alone."""

    def run(self, batch: Sequence[Prompt]) -> Sequence[Written | VoxqueueError]:
        return [self._written(prompt) for prompt in batch]

    def _written(self, prompt: Prompt) -> Written | VoxqueueError:
        if self.breaker is None:
            return EngineFailed(f"{self.name} was called before it was loaded.")
        try:
            return self.breaker.call(lambda: self._chat(prompt))
        except VoxqueueError as error:
            return error

    def _chat(self, prompt: Prompt) -> Written:
        try:
            return self.chat(prompt)
        except Exception as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> VoxqueueError:
        return error if isinstance(error, VoxqueueError) else self.explain(error)


class Breaker:
    """Calls a server, unless it was away several times in a row: then for a while nobody is sent, and after that one.

    Attributes:
        pause_s: How long nobody is sent, in seconds.
    """

    def __init__(self, failures: int = _FAILURES, pause_s: float = _PAUSE_S) -> None:
        import pybreaker

        self._open = pybreaker.CircuitBreakerError
        self._circuit = pybreaker.CircuitBreaker(
            failures, pause_s, exclude=[_is_an_answer], throw_new_error_on_trip=False
        )
        self._one = threading.Lock()
        self._reason = ""

    @property
    def trouble(self) -> str | None:
        """Why nobody is sent; None where everybody is."""
        return None if self._circuit.current_state == "closed" else self._reason

    @property
    def pause_s(self) -> float:
        return self._circuit.reset_timeout

    @pause_s.setter
    def pause_s(self, seconds: float) -> None:
        self._circuit.reset_timeout = seconds

    def call(self, ask: Callable[[], T]) -> T:
        """Do what `ask` does.

        Raises:
            EngineUnavailable: The server is away, as far as we know.
        """
        if self.trouble is None:
            return self._send(ask)
        if not self._one.acquire(blocking=False):
            raise EngineUnavailable(self._reason)
        try:
            return self._send(ask)
        finally:
            self._one.release()

    def _send(self, ask: Callable[[], T]) -> T:
        try:
            with self._circuit.calling():  # its `call` holds a lock meanwhile: one request at a time
                try:
                    return ask()
                except (EngineUnavailable, DeadlineExceeded) as error:
                    self._reason = error.detail  # before the circuit opens and somebody asks why
                    raise
        except self._open:
            raise EngineUnavailable(self._reason) from None


def _is_an_answer(error: BaseException) -> bool:
    return not isinstance(error, (EngineUnavailable, DeadlineExceeded))


def explain_status(status: int, server: str, said: str, retry_after: str | None = None) -> VoxqueueError:
    """The error that an HTTP status stands for.

    Args:
        status: What the server answered with.
        server: Which server, as a sentence begins.
        said: What it said about that.
        retry_after: The header of that name.
    """
    detail = f"{server} answered {status}: {said[:300].strip() or 'no reason given'}"
    if status in _REFUSED:
        return EngineRefused(detail)
    if status in _AWAY:
        return EngineUnavailable(detail, retry_after=_seconds(retry_after))
    return DeadlineExceeded(detail) if status in _LATE else EngineFailed(detail)


def _seconds(retry_after: str | None) -> float | None:
    """None where it is missing or a date, which nobody uses here."""
    try:
        return min(max(0.0, float(retry_after or "")), _LONGEST_PAUSE_S)
    except ValueError:
        return None
