"""A receiver of webhooks, told of everything in two ways: as a registered endpoint, and as each job's own address."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
from standardwebhooks import WebhookVerificationError

from tests.receiver import Came, receiving
from tests.wire import Said
from voxqueue.webhooks.events import JOB_EVENTS

_ENDPOINT, _JOB = "/endpoint", "/job"
_PATIENCE_S = 60.0


class Silence:
    """A while in which nothing is answered."""

    def __init__(self) -> None:
        self._asked, self._over = threading.Event(), threading.Event()

    def wait(self) -> None:
        """Return once somebody waits for an answer."""
        assert self._asked.wait(_PATIENCE_S), f"nobody was told anything within {_PATIENCE_S:g} s"

    def hold(self) -> None:
        self._asked.set()
        self._over.wait(_PATIENCE_S)

    def end(self) -> None:
        self._over.set()


@dataclass(slots=True)
class Listener:
    """What the receiver has accepted. It answers 204, unless it is told otherwise.

    Attributes:
        paths: Where each event must come.
        unsigned: What came without a valid signature, in words.
    """

    url: str = ""
    paths: frozenset[str] = frozenset((_ENDPOINT, _JOB))
    unsigned: list[str] = field(default_factory=list)
    _secrets: dict[str, str] = field(default_factory=dict)
    _accepted: list[Came] = field(default_factory=list)
    _heard: dict[str, set[str]] = field(default_factory=dict)
    _read: int = 0
    _silence: Silence | None = None
    _status: int = 204

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port
        return port

    @property
    def job_url(self) -> str:
        return self.url + _JOB

    def subscribe(self, api_url: str) -> None:
        """Register for every event of every job."""
        body = {"url": self.url + _ENDPOINT, "events": list(JOB_EVENTS)}
        with httpx.Client(base_url=api_url, timeout=30, trust_env=False) as http:
            endpoint = http.post("/v1/webhooks/endpoints", json=body).raise_for_status().json()
            secret = http.post("/v1/webhooks/secret/rotate").raise_for_status().json()
        self._secrets = {_ENDPOINT: endpoint["secret"], _JOB: secret["secret"]}

    def heard(self) -> dict[str, set[str]]:
        """By the id of each event, the paths at which it came and was accepted."""
        accepted = self._accepted[:]
        for came in accepted[self._read :]:
            self._verify(came)
            self._heard.setdefault(came.id, set()).add(came.path)
        self._read = len(accepted)
        return {message: set(paths) for message, paths in self._heard.items()}

    @contextmanager
    def silent(self) -> Iterator[Silence]:
        """Take what comes, and answer it only when the block ends."""
        silence = self._silence = Silence()
        try:
            yield silence
        finally:
            self._silence = None
            silence.end()

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Answer 500 until the block ends."""
        self._status = 500
        try:
            yield
        finally:
            self._status = 204

    def answer(self, came: Came) -> Said:
        status = self._status
        if silence := self._silence:
            silence.hold()
        if status == 204:
            self._accepted.append(came)
        return Said(status)

    def _verify(self, came: Came) -> None:
        try:
            came.verify(self._secrets[came.path])
        except WebhookVerificationError as error:
            self.unsigned.append(f"{came.id} at {came.path} is not signed as it should be: {error}")


@contextmanager
def listening() -> Iterator[Listener]:
    """A listener until the block ends."""
    listener = Listener()
    with receiving(listener.answer) as receiver:
        listener.url = receiver.url
        yield listener
