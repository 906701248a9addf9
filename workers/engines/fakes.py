"""What the three fake engines share: how long they take, digests, and failures on demand.

A request orders a failure by a marker in its text or instructions: ``!ACTION``, ``!ACTION:NUMBER``,
``!ACTION@STAGE`` or ``!ACTION:NUMBER@STAGE``. Without a stage, every stage that reads the text obeys.

=========== ============================================================================================
``!fail``   fails in a way that may be retried, and does so every time
``!flaky``  fails like that the first NUMBER times (1) that this process sees the request, then succeeds
``!refuse`` is refused for good
``!crash``  raises an ordinary exception for the whole batch
``!hang``   holds up the whole batch for NUMBER seconds (600)
``!die``    ends the worker's process at once, as a runtime does that meets a fault in its own memory
``!oom``    runs out of memory in batches of more than NUMBER (1) requests; ``!oom:0`` fits nowhere
=========== ============================================================================================

Recordings carry no text: there, language codes that nobody speaks stand for the actions, see `STT_ORDERS`.
"""

import hashlib
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from voxqueue.errors import EngineFailed, EngineRefused, VoxqueueError
from voxqueue.settings import FakeSettings
from voxqueue.stages import Stage

STAND_IN = "A fake for tests: it makes its answer up from a digest of the request."


class Action(StrEnum):
    FAIL = "fail"
    FLAKY = "flaky"
    REFUSE = "refuse"
    CRASH = "crash"
    HANG = "hang"
    DIE = "die"
    OOM = "oom"


@dataclass(frozen=True, slots=True)
class Order:
    """A failure that a request asks for. ``key`` tells requests apart for those that succeed on a later try."""

    action: Action
    number: float
    key: str


_NUMBERS = {Action.FLAKY: 1.0, Action.HANG: 600.0, Action.OOM: 1.0}

MARKER = re.compile(rf"!({'|'.join(Action)})(?::(\d+(?:\.\d+)?))?(?:@({'|'.join(Stage)}))?\b")

STT_ORDERS = {
    "xa": Action.FAIL,
    "xb": Action.FLAKY,
    "xc": Action.REFUSE,
    "xd": Action.CRASH,
    "xe": Action.HANG,
    "xf": Action.OOM,
    "xg": Action.DIE,
}
"""Language codes that order a failure from the fake of speech to text."""


def find_order(stage: Stage, *texts: str | None) -> Order | None:
    """The first marker for this stage in the texts."""
    for text in texts:
        for action, number, only in MARKER.findall(text or ""):
            if only in ("", stage):
                return make_order(Action(action), digest(*texts), float(number) if number else None)
    return None


def make_order(action: Action, key: str, number: float | None = None) -> Order:
    return Order(action, _NUMBERS.get(action, 0.0) if number is None else number, key)


def digest(*parts: str | bytes | None) -> str:
    """Eight hexadecimal digits that tell requests apart and stay the same from run to run."""
    whole = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else (part or "").encode("utf-8", "surrogatepass")
        whole.update(len(data).to_bytes(8, "little") + data)
    return whole.hexdigest()[:8]


class FakeModel:
    """Takes the time that a model would take, and fails as ordered."""

    def __init__(self, settings: FakeSettings) -> None:
        self._settings = settings
        self._tries: Counter[str] = Counter()

    def load(self) -> None:
        time.sleep(self._settings.load_ms / 1000)

    def work(self, orders: Sequence[Order | None]) -> list[VoxqueueError | None]:
        """One model call: sleep once, then say for each request whether it fails.

        Raises:
            MemoryError: A request with ``!oom`` stands in a batch that is too large for it.
            RuntimeError: A request with ``!crash`` is in the batch.
        """
        time.sleep((self._settings.fixed_ms + self._settings.per_item_ms * len(orders)) / 1000)
        for order in orders:
            if order is None:
                continue
            if order.action is Action.DIE:
                os.kill(os.getpid(), signal.SIGKILL)
            if order.action is Action.HANG:
                time.sleep(order.number)
            if order.action is Action.OOM and len(orders) > order.number:
                raise MemoryError(f"the fake holds {order.number:g} such requests")
            if order.action is Action.CRASH:
                raise RuntimeError("the fake crashed as ordered")
        return [self._fate(order) for order in orders]

    def _fate(self, order: Order | None) -> VoxqueueError | None:
        if order is None:
            return None
        if order.action is Action.REFUSE:
            return EngineRefused("The fake refused as ordered.")
        if order.action is Action.FAIL:
            return EngineFailed("The fake failed as ordered.")
        if order.action is Action.FLAKY:
            self._tries[order.key] += 1
            if self._tries[order.key] <= order.number:
                return EngineFailed("The fake failed as ordered; a later try will succeed.")
        return None
