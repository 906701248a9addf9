"""What confined children of tests can be asked to do: the real tasks, and everything that a taken-over child would try.

A child takes this module in the place of `voxqueue.audio.confined.tasks`. As the task ``probe``, it misbehaves on files
that begin with `LURE` and looks into all others.
"""

import ctypes
import errno
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

from voxqueue.audio.confined import tasks

warm, touch = tasks.warm, tasks.touch

LURE = b"OggS misbehave: "
PTRACE_ATTACH = 16


def lure(name: str) -> bytes:
    """An upload on which the task ``probe`` does this."""
    return LURE + name.encode()


def attempt(act: Callable[[], Any]) -> str:
    """``done``, or the name of what the system said."""
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except (RuntimeError, ValueError, MemoryError) as error:
        return type(error).__name__
    return "done"


def segfault() -> None:
    ctypes.string_at(0)


def exhaust() -> NoReturn:
    hoard = []
    while True:
        hoard.append(b"x" * (1 << 20))


def spin() -> NoReturn:
    while True:
        pass


def go_silent() -> NoReturn:
    os._exit(0)


def hang_up() -> None:
    socket.socket(fileno=3).shutdown(socket.SHUT_RDWR)
    signal.pause()


def babble() -> None:
    os.write(3, b"[" * 60_000)


def answer_on() -> None:
    """Answer well, and stay."""
    os.write(3, b'{"value": "well"}')
    signal.pause()


def recurse() -> None:
    recurse()


MISDEEDS: dict[str, Callable[[], Any]] = {
    "segfault": segfault,
    "abort": os.abort,
    "exhaust": exhaust,
    "spin": spin,
    "sleep": signal.pause,
    "go silent": go_silent,
    "hang up": hang_up,
    "babble": babble,
    "stay": answer_on,
    "raise": lambda: sys.exit("an exception that is none"),
    "recurse": recurse,
}

ATTEMPTS: dict[str, Callable[[], Any]] = {
    "open a file": lambda: os.open("/dev/null", os.O_RDONLY),
    "connect by IPv4": lambda: socket.socket(socket.AF_INET),
    "connect by IPv6": lambda: socket.socket(socket.AF_INET6),
    "connect to a Unix socket": lambda: socket.socket(socket.AF_UNIX),
    "make a file in memory": lambda: os.memfd_create("x"),
    "make a pipe": os.pipe,
    "duplicate a descriptor": lambda: os.dup(3),
    "fork": os.fork,
    "start a thread": lambda: threading.Thread(target=print).start(),
    "raise its descriptors": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9)),
    "raise its memory": lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40)),
    "become root": lambda: os.setresuid(0, 0, 0),
    "leave a core": lambda: resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20)),
}


def attempts(upload: BinaryIO) -> dict[str, str]:
    """What came of trying all of it, and of writing into the upload."""
    into_upload = attempt(lambda: os.write(upload.fileno(), b"x"))
    return {name: attempt(act) for name, act in ATTEMPTS.items()} | {"write into the upload": into_upload}


def attempts_by_path(_: BinaryIO, path: str) -> dict[str, str]:
    """What came of changing files without opening them, and of running one."""
    return {
        "remove": attempt(lambda: os.unlink(path)),
        "rename": attempt(lambda: os.rename(path, path + "2")),
        "shorten": attempt(lambda: os.truncate(path, 0)),
        "link": attempt(lambda: os.symlink("/", path + "3")),
        "make a folder": attempt(lambda: os.mkdir(path + "4")),
        "run": attempt(lambda: os.execv("/bin/true", ["true"])),  # noqa: S606
    }


def attempts_on(_: BinaryIO, pid: int) -> dict[str, str]:
    """What came of meddling with another process."""
    libc = ctypes.CDLL(None, use_errno=True)

    def trace() -> None:
        if libc.ptrace(PTRACE_ATTACH, pid, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    return {"signal": attempt(lambda: os.kill(pid, 0)), "trace": attempt(trace)}


def environment(_: BinaryIO) -> dict[str, str]:
    return dict(os.environ)


def misbehave(_: BinaryIO, what: str) -> Any:
    return MISDEEDS[what]()


def echo(upload: BinaryIO, **arguments: Any) -> Any:
    return [upload.read().decode(), arguments]


def count(upload: BinaryIO) -> list[int]:
    """How long it is, and how many of it are the letter y."""
    data = upload.read()
    return [len(data), data.count(b"y")]


def look_into(upload: BinaryIO, **limits: Any) -> Any:
    head = upload.read(200)
    if not head.startswith(LURE):
        return tasks.look_into(upload, **limits)
    what = head.removeprefix(LURE).decode()
    if what == "attempts":
        raise RuntimeError(repr(attempts(upload)))
    return MISDEEDS[what]()


def lie(_: BinaryIO, **lies: Any) -> dict[str, Any]:
    truth = {"container": "ogg", "codec": "opus", "sample_rate": 48_000, "channels": 1, "seconds": 2.0}
    return {**truth, "media_type": "audio/ogg", "extension": "ogg", **lies}


TASKS = {
    "probe": look_into,
    "misbehave": misbehave,
    "attempts": attempts,
    "attempts by path": attempts_by_path,
    "attempts on": attempts_on,
    "environment": environment,
    "echo": echo,
    "count": count,
    "pid": lambda upload: os.getpid(),
    "lie": lie,
}
