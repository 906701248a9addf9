"""A receiver of webhooks on a real port, with a book of what came. It answers what a test wants it to answer."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook

from tests.wire import Asked, Said, serving

WAIT_S = 20.0


@dataclass(frozen=True)
class Came:
    """One delivery, and when its head had been read, by `time.time`."""

    at: float
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    def verify(self, secret: str) -> None:
        """Raises `WebhookVerificationError` unless it was signed with the secret."""
        Webhook(secret).verify(self.body, dict(self.headers))


@dataclass
class Receiver:
    """What is there to see of a receiver while it runs."""

    url: str
    book: list[Came] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def write(self, came: Came) -> None:
        with self._changed:
            self.book.append(came)
            self._changed.notify_all()

    def wait(self, number: int = 1) -> list[Came]:
        """The book, once so many deliveries have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.book) >= number, WAIT_S), f"only {len(self.book)} came"
            return list(self.book)


@contextmanager
def receiving(answer: Callable[[Came], Said] = lambda _: Said(204)) -> Iterator[Receiver]:
    """A receiver until the block ends. It writes each delivery into its book before it answers."""

    def take(asked: Asked) -> Said:
        came = Came(time.time(), asked.path, {name.lower(): value for name, value in asked.headers.items()}, asked.body)
        receiver.write(came)
        return answer(came)

    receiver = Receiver("")
    with serving(take) as wire:
        receiver.url = wire.url
        yield receiver


@contextmanager
def hanging() -> Iterator[Receiver]:
    """A receiver that takes everything and answers nothing until the block ends."""
    over = threading.Event()

    def hang(_: Came) -> Said:
        over.wait(WAIT_S)
        return Said(204)

    with receiving(hang) as receiver:
        try:
            yield receiver
        finally:
            over.set()
