"""The nursery: a process of one thread that has all code loaded, forks children ahead, and says how they ended.

``python -m voxqueue.audio.confined.nursery CHANNEL JSON`` is how `Confined` starts it. It must never read an upload.
Each child that is ready goes to the asker as three descriptors: its socket, the file in memory where it will look for
uploads, and its pidfd. A byte back asks for one more child.
"""

import fcntl
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from voxqueue.audio.confined import limits
from voxqueue.audio.confined.tasks import Task, perform

REQUEST_BYTES = 4_096

_CHANNEL, _UPLOAD, _NEXT = 3, 4, 5  # a child's descriptors; 0, 1 and 2 are /dev/null
_DESCRIPTORS = 1_024
_AGAIN_MS = 200  # until the next try where the machine let no child be made


@dataclass(slots=True)
class Nursery:
    """Keeps children waiting.

    Attributes:
        asker: Where ready children are sent.
        tasks: What they can be asked to do.
        touch: What each does first, while nobody waits for it.
        ready: How many wait.
        memory_bytes: For each child, what the nursery itself has mapped included.
        cpu_s: For each child.
    """

    asker: socket.socket
    tasks: Mapping[str, Task]
    touch: Callable[[], None]
    ready: int
    memory_bytes: int
    cpu_s: int
    _alive: dict[int, socket.socket] = field(default_factory=dict)

    def run(self) -> None:
        """Until the asker is gone."""
        deaths, wake = socket.socketpair()
        deaths.setblocking(False)
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # the default would not wake us
        events = select.poll()
        events.register(self.asker, select.POLLIN)
        events.register(deaths, select.POLLIN)
        wanted, asked = self.ready, True
        while asked:
            while wanted and self._bear():
                wanted -= 1
            for descriptor, _ in events.poll(_AGAIN_MS if wanted else None):
                if descriptor == deaths.fileno():
                    deaths.recv(_DESCRIPTORS)
                    self._bury()
                else:
                    asked = self._asked()
                    wanted += 1
        signal.set_wakeup_fd(-1)

    def _asked(self) -> bool:
        """Whether one more child is asked for; else the asker is gone."""
        try:
            return bool(self.asker.recv(1))
        except ConnectionResetError:
            return False

    def _bear(self) -> bool:
        """Fork a child and hand it over. False where the machine does not let us; then it is tried again."""
        nursery = os.getpid()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, open(os.memfd_create("upload"), "wb") as written:
            try:
                pid = os.fork()
            except OSError as error:  # too many processes, or too little memory
                print(f"no confined child could be made: {error}", file=sys.stderr, flush=True)
                theirs.close()
                return False
            if pid == 0:
                self._live(theirs.fileno(), written.fileno(), nursery)
            self._alive[pid] = theirs
            pidfd = os.pidfd_open(pid)  # surely this child's: nobody but us takes note of its death
            with suppress(OSError):  # the asker is gone, as we shall read next; the child will read it too
                socket.send_fds(self.asker, [b"+"], [ours.fileno(), written.fileno(), pidfd])
            os.close(pidfd)
        return True

    def _bury(self) -> None:
        """Take note of deaths: an obituary stands behind a child's answer, or in its place."""
        while self._alive:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with self._alive.pop(pid) as channel:
                ended = json.dumps({"ended": os.waitstatus_to_exitcode(status)})
                with suppress(OSError):  # the asker has its answer, or has given up
                    channel.send(ended.encode(), socket.MSG_DONTWAIT)

    def _live(self, channel: int, upload: int, nursery: int) -> NoReturn:
        """A child's life: questions and answers, until the asker ends it."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _keep_only(channel, upload)
            limits.die_with(nursery)
            limits.confine(memory_bytes=self.memory_bytes, cpu_s=self.cpu_s)
            self.touch()
            os.dup2(0, 2)  # what FFmpeg and an attacker have to say would stand in our log
            limits.seal()
            _serve(socket.socket(fileno=_CHANNEL), self.tasks)
            os._exit(0)
        except BaseException as error:
            print(f"a confined child broke: {error!r}", file=sys.stderr, flush=True)
        finally:
            os._exit(1)


def _keep_only(channel: int, upload: int) -> None:
    """Give a child's descriptors their numbers, the upload's for reading alone, and close all others."""
    channel = fcntl.fcntl(channel, fcntl.F_DUPFD, _DESCRIPTORS // 2)  # out of the way
    upload = os.open(f"/proc/self/fd/{upload}", os.O_RDONLY)
    os.dup2(upload, _UPLOAD)
    os.dup2(channel, _CHANNEL)
    os.closerange(_NEXT, _DESCRIPTORS)


def _serve(channel: socket.socket, tasks: Mapping[str, Task]) -> None:
    while request := channel.recv(REQUEST_BYTES):
        name, arguments = json.loads(request)
        with open(_UPLOAD, "rb", closefd=False) as upload:
            upload.seek(0)
            answer = perform(tasks, name, upload, arguments)
        channel.send(json.dumps(answer).encode())


def _prepare() -> None:
    """Be a good parent: quiet, single-threaded, without rights, and with memory that children can share."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # whoever asks may still be at work; its end is ours
        signal.signal(number, signal.SIG_IGN)
    most = min(_DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    limits.die_first()
    if os.geteuid() == 0:
        try:
            limits.become_nobody()
        except OSError as error:
            print(f"confined children run as root, since nobody cannot be taken: {error}", file=sys.stderr, flush=True)
    gc.collect()
    gc.freeze()
    gc.disable()


def main(arguments: list[str]) -> None:
    asker = socket.socket(fileno=int(arguments[0]))
    options: dict[str, Any] = json.loads(arguments[1])
    tasks = importlib.import_module(options.pop("tasks"))
    tasks.warm()
    memory_bytes = limits.mapped_bytes() + options.pop("memory_bytes")
    _prepare()
    Nursery(asker, tasks.TASKS, tasks.touch, memory_bytes=memory_bytes, **options).run()


if __name__ == "__main__":
    main(sys.argv[1:])
