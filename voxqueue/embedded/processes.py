"""One child process: how it is described, started and ended, and how a folder is held by one owner at a time.

Must not know what the children are.
"""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from voxqueue.errors import MisconfiguredError

LOOPBACK = "127.0.0.1"
_LAUNCH = str(Path(__file__).with_name("launch.py"))


@dataclass(frozen=True, slots=True)
class Child:
    """A program to run.

    Attributes:
        argv: The program's absolute path and its arguments.
        env: Its whole environment; None means ours.
        stop_signal: What asks it to end.
        death_signal: What the kernel sends it when we die without a word.
        grace_s: Seconds between the stop signal and SIGKILL.
        together: Neighbours that share this word are stopped at the same time.
        user: The user and group ids to run as; None means ours.
        keep_fds: Open files that it inherits, such as a lock that must live as long as it does.
        log: A file that its output is added to, instead of the terminal.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    stop_signal: int = signal.SIGTERM
    death_signal: int = signal.SIGKILL
    grace_s: float = 5
    together: str | None = None
    user: tuple[int, int] | None = None
    keep_fds: tuple[int, ...] = ()
    log: Path | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready to be started: its program, its address, and a question that is true once it answers."""

    child: Child
    url: str
    answers: Callable[[], bool]


def launch(child: Child) -> subprocess.Popen[bytes]:
    """Start a child with both its outputs going to its log, else to a pipe. It dies when the calling *thread* does.

    It leads a process group of its own, so that Ctrl-C in the terminal reaches us alone and we keep the order.
    """
    if child.log:
        with child.log.open("ab") as output:
            return _launch(child, output)
    return _launch(child, subprocess.PIPE)


def _launch(child: Child, output: int | IO[bytes]) -> subprocess.Popen[bytes]:
    uid, gid = child.user or (-1, -1)
    wrapper = (sys.executable, "-I", "-S", _LAUNCH, os.getpid(), int(child.death_signal), uid, gid)
    return subprocess.Popen(
        [*map(str, wrapper), *child.argv],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=child.env,
        process_group=0,
        pass_fds=child.keep_fds,
    )


def run(child: Child) -> int:
    """Run a child to its end; returns its exit status."""
    process = launch(child)
    try:
        return process.wait()
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a child and whatever it has started, at once, also what has left its process group."""
    started = _descendants(process)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for one in started:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


def _descendants(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """What a living child has started; of a dead one nobody knows any more."""
    if process.poll() is not None:
        return []
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def halt(process: subprocess.Popen[bytes], child: Child) -> None:
    """Ask a child to end, and end it when its grace is over."""
    process.send_signal(child.stop_signal)
    with suppress(subprocess.TimeoutExpired):
        process.wait(child.grace_s)
    kill(process)


@contextmanager
def running(server: Server) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends.

    Raises:
        MisconfiguredError: It ended or did not answer in time; the end of its log is in the message.
    """
    process = launch(server.child)
    try:
        await_answer(server, lambda: process.poll() is None)
        yield process
    finally:
        halt(process, server.child)


def await_answer(server: Server, alive: Callable[[], bool], timeout_s: float = 30) -> None:
    """Return once the server answers; `MisconfiguredError` if it is not alive any more or takes too long."""
    give_up = time.monotonic() + timeout_s
    while not server.answers():
        if not alive() or time.monotonic() > give_up:
            raise MisconfiguredError(f"The embedded {server.child.name} did not start. {last_words(server.child.log)}")
        time.sleep(0.02)


def last_words(log: Path | None) -> str:
    """The end of a log, for the message about the one who wrote it."""
    return log.read_text(errors="replace")[-2000:].strip() if log and log.exists() else ""


@contextmanager
def hold(folder: Path) -> Iterator[int]:
    """Own a folder, made if missing, until the block ends; yields the lock's file descriptor.

    A child that inherits the descriptor holds the lock too: after a ``kill -9`` of its parent, the next owner waits
    until the last such child is gone, so that no two servers ever write the same data.

    Raises:
        MisconfiguredError: The folder cannot be made, a living process owns it, or a dead one's children do not go
            away.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MisconfiguredError(f"The folder {folder} cannot be made: {error.strerror}. Choose another.") from error
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(descriptor, folder)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, patience_s: float = 15) -> None:
    give_up = time.monotonic() + patience_s
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode().strip()
            if (owner and Path("/proc", owner).exists()) or time.monotonic() > give_up:
                raise MisconfiguredError(
                    f"{folder} is in use by process {owner or 'unknown'}. Stop that one, or choose another folder "
                    "with --data."
                ) from None
        time.sleep(0.05)


def free_port() -> int:
    """A TCP port on the loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not count
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
        return False
