"""Asks confined children: lends each to one question at a time, and judges what comes back."""

import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, BinaryIO, Protocol, Self

from voxqueue.audio.confined.children import Child, Nursery
from voxqueue.audio.confined.tasks import perform
from voxqueue.errors import AudioCorrupt, AudioError, Unavailable

log = logging.getLogger(__name__)

TASKS = "voxqueue.audio.confined.tasks"

_DETAIL_CHARS = 500
_KINDS: tuple[type[AudioError], ...] = (AudioError, *AudioError.__subclasses__())
_KILLED = {"ended": -signal.SIGKILL}
_REFUSALS = {kind.code: kind for kind in _KINDS}
_BUSY = "Too many recordings are being looked into at this moment. Send it again in a moment."
_NO_CHILD = "Recordings cannot be looked into right now. Send it again in a moment."
_BREAKS = "The recording is damaged in a way that stops its reader. Record it again, or export it anew."
_TOO_MUCH = "The recording is built so oddly that it could not be examined. Export it anew, or as WAV."


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one question may cost.

    Attributes:
        memory_bytes: Beyond what a child has from the start.
        cpu_s: Processor time, in whole seconds.
        wall_s: From the question to the answer.
    """

    memory_bytes: int = 256 << 20
    cpu_s: int = 6
    wall_s: float = 8.0


USUAL = Bounds()
"""Somewhat more than `probe` allows itself, so that it mostly has its say."""


class Examiner(Protocol):
    """Whoever does a task on an upload."""

    def ask(self, task: str, upload: BinaryIO, **arguments: Any) -> Any:
        """Do a task on a seekable file, from its beginning.

        Returns:
            JSON values. They come from where the upload was read: check them.

        Raises:
            AudioError: The upload cannot be used, or brought its reader down.
            Unavailable: Nobody is there to do it right now.
        """


class Confined:
    """Does tasks in confined children. Any number of threads may ask.

    Args:
        bounds: For each question.
        tasks: The module whose ``TASKS`` children know.
        children: How many there are. Who asks while all are busy waits for as long as an answer may take.
        uses: How many questions a child may be asked, one after the other, if all goes well.
    """

    def __init__(self, bounds: Bounds = USUAL, *, tasks: str = TASKS, children: int = 8, uses: int = 8) -> None:
        self._bounds = bounds
        self._uses = uses
        self._options = {"tasks": tasks, "ready": children, "memory_bytes": bounds.memory_bytes, "cpu_s": bounds.cpu_s}
        self._free = threading.BoundedSemaphore(children)
        self._lock = threading.Lock()
        self._nursery: Nursery | None = None
        self._used: list[Child] = []  # that may be asked again

    def __enter__(self) -> Self:
        self._running()
        return self

    def __exit__(self, *_: object) -> None:
        while self._used:
            self._used.pop().end()
        with self._lock:
            if self._nursery:
                self._nursery.end()
                self._nursery = None

    def ask(self, task: str, upload: BinaryIO, **arguments: Any) -> Any:
        """See `Examiner`."""
        if not self._free.acquire(timeout=self._bounds.wall_s):
            raise Unavailable(_BUSY, retry_after=1)
        try:
            answer = self._answer(json.dumps([task, arguments]).encode(), upload)
        finally:
            self._free.release()
        return _taken(task, answer)

    def _answer(self, request: bytes, upload: BinaryIO) -> Any:
        """A first child's; where its silence need not be the upload's fault, that of a second one nobody has used."""
        with self._lent(self._used_child() or self._new_child()) as child:
            fresh = child.asked == 0
            answer = child.ask(request, upload, self._bounds.wall_s)
        if _is_said(answer) or (fresh and answer not in (None, _KILLED)):
            return answer
        with self._lent(self._new_child()) as child:
            return child.ask(request, upload, self._bounds.wall_s)

    @contextmanager
    def _lent(self, child: Child) -> Iterator[Child]:
        try:
            yield child
        finally:
            if child.fit and child.asked < self._uses:
                self._used.append(child)
            else:
                child.end()

    def _used_child(self) -> Child | None:
        while True:
            try:
                child = self._used.pop()
            except IndexError:
                return None
            if child.waits():
                return child
            child.end()

    def _new_child(self) -> Child:
        """Starts a nursery where there is none. Raises `Unavailable`."""
        for _ in range(2):
            nursery = self._running()
            try:
                return nursery.child(self._bounds.wall_s)
            except OSError as error:
                self._discard(nursery, error)
        raise Unavailable(_NO_CHILD, retry_after=2)

    def _running(self) -> Nursery:
        """Raises `Unavailable` where the machine lets none be started."""
        with self._lock:
            if self._nursery is None:
                try:
                    self._nursery = Nursery(self._options)
                except OSError as error:
                    raise Unavailable(_NO_CHILD, retry_after=2) from error
            return self._nursery

    def _discard(self, nursery: Nursery, error: OSError) -> None:
        with self._lock:
            if self._nursery is nursery:  # we are the first who notice
                # Its words alone: whoever keeps the record would keep the nursery, and with it an open channel.
                why = str(error)
                log.error("the nursery of confined children has died or does not stir (%s); starting another", why)
                nursery.kill()
                self._nursery = None


class Unconfined:
    """Does tasks in this process, for systems that are not Linux."""

    def __init__(self, tasks: str = TASKS) -> None:
        self._tasks = import_module(tasks).TASKS

    def ask(self, task: str, upload: BinaryIO, **arguments: Any) -> Any:
        """See `Examiner`."""
        return _taken(task, perform(self._tasks, task, upload, arguments))


@contextmanager
def open_examiner() -> Iterator[Examiner]:
    """The examiner that this system allows; says in the log what is not confined."""
    if sys.platform != "linux":
        log.warning("Uploads are read inside this process, unconfined: only Linux can confine. Do not serve strangers.")
        yield Unconfined()
        return
    from voxqueue.audio.confined import limits  # noqa: PLC0415 - has no meaning elsewhere

    if (missing := limits.missing()) is not None:
        log.warning("%s", missing)
    with Confined() as confined:
        yield confined


def _is_said(answer: Any) -> bool:
    """Whether a task has come to its end."""
    return isinstance(answer, dict) and ("value" in answer or "refused" in answer)


def _taken(task: str, answer: Any) -> Any:
    """The value of an answer, or the error that it stands for."""
    match answer:
        case {"value": value}:
            return value
        case {"refused": [str(code), str(detail)]}:
            shown = "".join(letter for letter in detail if letter.isprintable())[:_DETAIL_CHARS]
            raise _REFUSALS.get(code, AudioCorrupt)(shown)
    log.warning("an upload is refused, since %r ended in its child with %.300r", task, answer)
    late = answer == {"ended": -signal.SIGXCPU} or (isinstance(answer, dict) and "overdue" in answer)
    raise AudioCorrupt(_TOO_MUCH if late else _BREAKS)
