"""What a test tells the processes of a stack through a folder, see `inside/sitecustomize.py`, and what it hears."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxqueue.stages import Stage

_INSIDE = Path(__file__).with_name("inside")
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """A fake engine was asked one thing. `at` is the true time, also in a process whose clock is wrong."""

    at: float
    pid: int
    stage: Stage
    key: str


class Hooks:
    """The folder. Gates of engines, and the book of their calls."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._book = folder / "calls"
        self._lines: list[dict[str, Any]] = []
        self._read = 0
        folder.mkdir()
        self._book.touch()
        paths = [str(_INSIDE), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.env = {"FAULT_FOLDER": str(folder), "PYTHONPATH": os.pathsep.join(paths)}

    def calls(self) -> list[Call]:
        """All calls so far, in their order."""
        return [
            Call(line["at"], line["pid"], Stage(line["stage"]), line["key"]) for line in self._all() if "key" in line
        ]

    @contextmanager
    def gate(self, stage: Stage) -> Iterator["EngineGate"]:
        """Engines of the stage stop in their next model call until the block ends."""
        gate = self._folder / f"gate-{stage}"
        seen = len(self.calls())
        gate.touch()
        try:
            yield EngineGate(self, stage, seen)
        finally:
            gate.unlink()

    @contextmanager
    def wrong_clock(self, word: str, seconds: float) -> Iterator[None]:
        """Processes that start meanwhile with this word on their command line are ahead by so much."""
        clock = self._folder / "clock"
        clock.write_text(f"{word} {seconds}\n")
        try:
            yield
        finally:
            clock.unlink()

    def wrong_clocks(self) -> list[int]:
        """The pids of processes whose clock was shifted."""
        return [line["pid"] for line in self._all() if "shift" in line]

    def _all(self) -> list[dict[str, Any]]:
        with self._book.open("rb") as book:
            book.seek(self._read)
            new = book.read().rpartition(b"\n")[0]
        if new:
            self._read += len(new) + 1
            self._lines += map(json.loads, new.splitlines())
        return self._lines


class EngineGate:
    """A closed gate of an engine."""

    def __init__(self, hooks: Hooks, stage: Stage, seen: int) -> None:
        self._hooks, self._stage, self._seen = hooks, stage, seen

    def wait(self) -> int:
        """Return the pid of the worker whose engine stands at the gate, once there is one."""
        give_up = time.monotonic() + _PATIENCE_S
        while time.monotonic() < give_up:
            for call in self._hooks.calls()[self._seen :]:
                if call.stage is self._stage:
                    return call.pid
            time.sleep(0.02)
        raise AssertionError(f"no engine of {self._stage} was called within {_PATIENCE_S:g} s")
