"""Children and their nursery, from outside: how they are started, asked and ended. Judges no answer."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

_ANSWER_BYTES = 65_536
_COPY_BYTES = 1 << 20
_QUICK_S = 0.25  # processor time is bounded over a child's life: one that took long is not asked again
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")


class Nursery:
    """The process that makes children.

    Args:
        options: What `voxqueue.audio.confined.nursery.main` takes.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        weakref.finalize(self, self._channel.close)  # no earlier: threads may wait on this descriptor's number
        words = ("-P", "-m", "voxqueue.audio.confined.nursery", str(theirs.fileno()), json.dumps(options))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=_environment(),
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C is for us, who may still need it
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def child(self, wait_s: float) -> "Child":
        """The next one that nobody has asked yet. Raises `OSError` if none comes."""
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0:
            self._channel.settimeout(left)
            message, descriptors, _, _ = socket.recv_fds(self._channel, 1, 3, socket.MSG_CMSG_CLOEXEC)
            ended = not message or self._process.poll() is not None  # those it leaves behind are about to die
            if ended or len(descriptors) < 3:
                for descriptor in descriptors:
                    os.close(descriptor)
                raise OSError("it has ended" if ended else "we may not have more open files")
            channel, upload, pidfd = descriptors
            child = Child(channel, upload, pidfd, self._ask_for_another)
            if child.waits():
                return child
            child.end()
        raise TimeoutError("it makes no children that live")

    def end(self) -> None:
        """Let it end, and its children with it, which it does once it reads that nobody asks any more."""
        self._channel.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self._channel.shutdown(socket.SHUT_RDWR)
        self._process.kill()
        self._process.wait()

    def _ask_for_another(self) -> None:
        with suppress(OSError):  # it has ended, or is being ended
            self._channel.send(b"+")


class Child:
    """One child. For one thread at a time.

    Attributes:
        asked: How many questions it has been asked.
        fit: Whether it has answered the last one well and quickly.
    """

    def __init__(self, channel: int, upload: int, pidfd: int, replace: Callable[[], None]) -> None:
        self.asked = 0
        self.fit = True
        self._channel = socket.socket(fileno=channel)
        self._upload = open(upload, "wb")  # noqa: SIM115 - closed by end()
        self._pidfd = pidfd
        self._replace = replace

    def waits(self) -> bool:
        """Whether it is alive and silent."""
        events = select.poll()
        events.register(self._channel, select.POLLIN)
        events.register(self._pidfd, select.POLLIN)
        return not events.poll(0)

    def ask(self, request: bytes, upload: BinaryIO, wall_s: float) -> Any:
        """Its answer, unchecked, or how it ended; None if nobody says that, since its nursery has ended too.

        The upload is left at its beginning.
        """
        self.asked += 1
        self.fit = False
        self._copy(upload)
        began = time.monotonic()
        self._channel.settimeout(wall_s)
        try:
            self._channel.send(request)
            answer = self._channel.recv(_ANSWER_BYTES)
        except TimeoutError:
            return {"overdue": wall_s}
        except (BrokenPipeError, ConnectionResetError):
            return None
        try:
            said = json.loads(answer) if answer else None
        except (ValueError, RecursionError):
            return {"broken": "what it says is no JSON"}
        self._upload.truncate(0)
        self.fit = isinstance(said, dict) and "value" in said and time.monotonic() - began < _QUICK_S
        return said

    def end(self) -> None:
        """Surely: one that has answered may have been taken over all the same."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.close(self._pidfd)
        self._channel.close()
        self._upload.close()
        self._replace()  # only now: its successor's birth must not slow down what it does

    def _copy(self, upload: BinaryIO) -> None:
        upload.seek(0)
        self._upload.seek(0)
        shutil.copyfileobj(upload, self._upload, _COPY_BYTES)
        self._upload.flush()
        upload.seek(0)


def _environment() -> dict[str, str]:
    """Enough to start Python and find our packages. No secrets: a child may be taken over."""
    path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # a process with threads must not fork
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | {"PYTHONPATH": path} | threads
