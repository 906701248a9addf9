"""Requests and answers: what goes wrong on the way becomes an error, and an answer a value. Knows no path."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from voxqueue.client.errors import ApiError, ClientError, ServerUnreachable

DEFAULT_URL = "http://127.0.0.1:8000"

AnswerT = TypeVar("AnswerT", bound=BaseModel)


class Wire:
    """Connections to one API; the arguments are those of `Client`. May be shared by threads."""

    def __init__(
        self, base_url: str | None, api_key: str | None, timeout: float, transport: httpx.BaseTransport | None
    ) -> None:
        self.base_url = _checked(base_url or os.environ.get("VOXQUEUE_URL") or DEFAULT_URL)
        # A proxy from the environment cannot reach this machine's loopback.
        trust_env = transport is None and httpx.URL(self.base_url).host not in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(
            base_url=self.base_url,
            headers=_authorization(api_key or os.environ.get("VOXQUEUE_API_KEY")),
            timeout=timeout,
            transport=transport,
            trust_env=trust_env,
            # Sooner than the API, which does so after 5 s: it must not close a connection that we are about to use.
            limits=httpx.Limits(keepalive_expiry=3),
        )

    def close(self) -> None:
        self._http.close()

    def ask(self, method: str, path: str, *, accepted: tuple[int, ...] = (), **options: Any) -> httpx.Response:
        """Send a request. Raises `ServerUnreachable`, or `ApiError` for a status that is not `accepted`."""
        with self._reaching():
            answer = self._http.request(method, path, **options)
        if answer.is_success or answer.status_code in accepted:
            return answer
        raise self.refusal(answer)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise ServerUnreachable(
                f"{self.base_url} did not answer in time. Is it overloaded, or not a Voxqueue API?"
            ) from error
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise ServerUnreachable(
                f"No Voxqueue API answers at {self.base_url} ({str(error) or type(error).__name__}). "
                "Start one with `voxqueue up`, or give its address with --url or VOXQUEUE_URL."
            ) from error

    def refusal(self, answer: httpx.Response) -> ApiError:
        """The error that an answer stands for."""
        try:
            problem = answer.json()
        except ValueError:
            problem = None
        if not isinstance(problem, dict) or not {"title", "detail"} & problem.keys():
            problem = {
                "title": f"HTTP {answer.status_code} {answer.reason_phrase}".rstrip(),
                "detail": f"{answer.url} gave no reason. Is {self.base_url} the address of a Voxqueue API?",
            }
        return ApiError(answer.status_code, problem, retry_after=_seconds(answer.headers.get("retry-after")))

    def read(self, kind: type[AnswerT], answer: httpx.Response) -> AnswerT:
        """The value that an answer holds. Raises `ApiError` for what is none."""
        try:
            return kind.model_validate_json(answer.content)
        except ValueError as error:
            raise ApiError(
                answer.status_code,
                {
                    "title": "Not an answer of Voxqueue",
                    "detail": f"{answer.url} answered with something that is no {kind.__name__}. "
                    f"Is {self.base_url} the address of a Voxqueue API of this version?",
                },
            ) from error


def given(members: Mapping[str, Any]) -> dict[str, Any]:
    """Those that have a value: what is None is left to the API."""
    return {name: value for name, value in members.items() if value is not None}


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ClientError(f"{url!r} is no address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ClientError(f"{url!r} is no address of an API; it looks like {DEFAULT_URL}.")
    return url.rstrip("/")


def _authorization(api_key: str | None) -> dict[str, str]:
    if not api_key:
        return {}
    if not all("!" <= letter <= "~" for letter in api_key):
        raise ClientError("The API key holds characters that no key has. Was it copied in full, and nothing else?")
    return {"Authorization": f"Bearer {api_key}"}


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() else None
