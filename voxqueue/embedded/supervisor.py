"""Keeps children running: names their output, starts the dead again after a pause, ends all in reverse order.

One thread does all of it. That is not for speed: the kernel ties a child's life to the thread that started it.
"""

import os
import queue
import selectors
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TextIO

from voxqueue.embedded.processes import Child, kill, launch

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_HEALTHY_S = 30.0  # who lived this long has earned the first pause again
_TURN_S = 0.05
_RESERVE_S = 1.0  # kept back for each child that is still to be stopped
_LINE_LIMIT = 65_536  # bytes, a pipe's capacity; a longer line is cut, so that no child can fill our memory
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92)


@dataclass(slots=True)
class _Place:
    """One child's place: the process that is in it now, or when the next one comes."""

    child: Child
    colour: int
    process: subprocess.Popen[bytes] | None = None
    pid: int | None = None
    started_at: float = 0
    pause_s: float = _FIRST_PAUSE_S
    due_at: float = 0
    unfinished: bytes = b""
    started: threading.Event = field(default_factory=threading.Event)


class Supervisor:
    """Runs children until it is stopped.

    Args:
        out: Where whole lines go. Names are coloured if it is a terminal and ``NO_COLOR`` is not set.
        stop_s: Within how many seconds `stop` has ended everything.
    """

    def __init__(self, out: TextIO, *, stop_s: float = 15) -> None:
        self._out = out
        self._coloured = out.isatty() and not os.environ.get("NO_COLOR")
        self._stop_s = stop_s
        self._writing = threading.Lock()
        self._arrivals: queue.SimpleQueue[_Place] = queue.SimpleQueue()
        self._places: list[_Place] = []  # in the order of their start
        self._selector = selectors.DefaultSelector()
        self._stopping = False  # plain values, which a signal handler may set at any moment
        self._killing = False
        self._thread = threading.Thread(target=self._run, name="supervisor")

    # --- for everyone -------------------------------------------------------------------------------------------------

    def start(self, child: Child) -> None:
        """Start a child and keep it running. Returns when it has a process."""
        if self._thread.ident is None:
            self._thread.start()
        place = _Place(child, _COLOURS[len(self._places) % len(_COLOURS)])
        self._arrivals.put(place)
        while not place.started.wait(0.1):
            if not self.alive:
                raise RuntimeError(f"{child.name} was not started: the supervisor has ended")

    def pid(self, name: str) -> int:
        """The process that is in a child's place; the last one, while the next is not there yet."""
        pid = {place.child.name: place.pid for place in self._places}[name]
        assert pid is not None  # start() returns no earlier
        return pid

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        return self._stopping

    def say(self, text: str, name: str = "voxqueue", colour: int = 1) -> None:
        """Write lines under a name, never into the middle of another line."""
        shown = f"\x1b[{colour}m{name:<8}\x1b[0m" if self._coloured else f"{name:<8}"
        try:
            with self._writing:
                self._out.write("".join(f"{shown} | {line}\n" for line in text.split("\n")))
                self._out.flush()
        except OSError:  # the terminal is closed, or `| head` has seen enough
            self._stopping = True

    def stop(self) -> None:
        """End all children, the last started first, each with its grace. Returns when none is left."""
        self._stopping = True
        if self._thread.ident is not None:
            self._thread.join()

    def kill(self) -> None:
        """End all children at once. May be called from a signal handler while `stop` waits."""
        self._killing = self._stopping = True

    # --- for the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
            self._stop_in_order()
        finally:  # a fault of ours must not leave them behind
            for place in self._places:
                if place.process:
                    kill(place.process)
            self._selector.close()

    def _turn(self) -> None:
        """Pass output on, notice deaths, and start who is due."""
        self._read(_TURN_S)
        while not self._arrivals.empty():
            self._places.append(self._arrivals.get())
        for place in self._places:
            if place.process and place.process.poll() is not None:
                self._clear(place, place.process.returncode)
            elif place.process is None and time.monotonic() >= place.due_at:
                self._spawn(place)

    def _spawn(self, place: _Place) -> None:
        try:
            place.process = launch(place.child)
        except OSError as error:  # the machine is out of processes or files
            self._pause(place, f"could not be started: {error}")
            return
        place.pid = place.process.pid
        place.started_at = time.monotonic()
        if place.process.stdout:
            os.set_blocking(place.process.stdout.fileno(), False)
            self._selector.register(place.process.stdout, selectors.EVENT_READ, place)
        place.started.set()

    def _clear(self, place: _Place, status: int) -> None:
        """See to a child that has died by itself."""
        assert place.process
        kill(place.process)  # what it had started must not live beside its successor
        self._bury(place)
        if time.monotonic() - place.started_at >= _HEALTHY_S:
            place.pause_s = _FIRST_PAUSE_S
        self._pause(place, f"was ended by signal {-status}" if status < 0 else f"ended with status {status}")

    def _pause(self, place: _Place, reason: str) -> None:
        self.say(f"{place.child.name} {reason}; starting it again in {place.pause_s:g} s", colour=31)
        place.due_at = time.monotonic() + place.pause_s
        place.pause_s = min(2 * place.pause_s, _LONGEST_PAUSE_S)

    def _bury(self, place: _Place) -> None:
        """Pass on a dead process's last output, and leave its place empty."""
        assert place.process
        stdout = place.process.stdout
        if stdout and not stdout.closed:
            self._pass_on(place)  # once is all: a pipe holds no more than one read takes
            self._close(place)
        place.process = None

    def _close(self, place: _Place) -> None:
        assert place.process
        stdout = place.process.stdout
        if stdout and not stdout.closed:  # _pass_on may have met its end already
            self._selector.unregister(stdout)
            stdout.close()
        if place.unfinished:
            self._write(place, place.unfinished)
            place.unfinished = b""

    def _read(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            self._pass_on(key.data)

    def _pass_on(self, place: _Place) -> None:
        """Write the whole lines of what a child has said."""
        assert place.process
        assert place.process.stdout
        try:
            said = os.read(place.process.stdout.fileno(), _LINE_LIMIT)
        except BlockingIOError:
            return
        if not said:
            self._close(place)
            return
        *lines, rest = (place.unfinished + said).split(b"\n")
        if len(rest) > _LINE_LIMIT:
            lines, rest = [*lines, rest], b""
        place.unfinished = rest
        if lines:
            self._write(place, b"\n".join(lines))

    def _write(self, place: _Place, lines: bytes) -> None:
        self.say(lines.decode(errors="replace").replace("\r", ""), place.child.name, place.colour)

    def _stop_in_order(self) -> None:
        end = time.monotonic() + self._stop_s
        remaining = [place for place in reversed(self._places) if place.process]
        left = len(remaining)
        for _, neighbours in groupby(remaining, key=lambda place: place.child.together or place.child.name):
            places = list(neighbours)
            left -= len(places)
            if not self._killing:
                self._halt(places, end - _RESERVE_S * left)
        if self._killing:
            self._end_at_once([place for place in remaining if place.process])

    def _halt(self, places: Sequence[_Place], end: float) -> None:
        """End children that are stopped together, each within its grace, unless all are to end at once meanwhile."""
        began = time.monotonic()
        for place in places:
            assert place.process
            place.process.send_signal(place.child.stop_signal)
        waiting = list(places)
        while waiting and not self._killing:
            self._read(_TURN_S)
            now = time.monotonic()
            waiting = [
                place
                for place in waiting
                if place.process and place.process.poll() is None and now < min(began + place.child.grace_s, end)
            ]
        for place in places:
            assert place.process
            if place.process.poll() is None:
                if self._killing:
                    continue
                self.say(f"{place.child.name} does not end; killing it", colour=31)
            kill(place.process)
            self._bury(place)

    def _end_at_once(self, places: Sequence[_Place]) -> None:
        """Somebody has asked twice: wait for no child any more."""
        if places:
            self.say(f"asked again: killing {', '.join(place.child.name for place in places)}", colour=31)
        for place in places:
            assert place.process
            kill(place.process)
            self._bury(place)
