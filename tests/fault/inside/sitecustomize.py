"""Python runs this at the start of every process of a stack under fault. The product does not know of it.

It keeps a book of the fake engines' calls, holds them at gates, kills the process on poison, shifts the clock of
processes that are named, and names each process to Postgres by its pid. What it is to do stands in a folder, see
`tests.fault.hooks`.
"""

import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_FOLDER = Path(os.environ.get("FAULT_FOLDER", "/"))
_ENGINES = {f"workers.engines.{stage}.fake": stage for stage in ("stt", "llm", "tts")}
_now = time.time

Run = Callable[[Any, Sequence[Any]], Sequence[Any]]


def _key(module: ModuleType, stage: str, request: Any) -> str:
    """What tells a request from others, and stands in the rows as well: what was heard, replied, or is to be said."""
    if stage == "stt":
        return str(module._transcribe(request).text)
    if stage == "llm":
        return str(module._reply(request).text)
    return str(request.text)


def _watched(module: ModuleType, stage: str, run: Run) -> Run:
    def watched(self: Any, batch: Sequence[Any]) -> Sequence[Any]:
        for request in batch:
            _note({"at": _now(), "pid": os.getpid(), "stage": stage, "key": _key(module, stage, request)})
            if getattr(request, "prompt", None) == "!die":  # of a note, where the fakes take orders by language only
                os.kill(os.getpid(), signal.SIGKILL)
        while (_FOLDER / f"gate-{stage}").exists():
            time.sleep(0.005)
        return run(self, batch)

    return watched


def _note(line: dict[str, Any]) -> None:
    book = os.open(_FOLDER / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(book, (json.dumps(line) + "\n").encode())  # one write is one line, whoever else writes
    os.close(book)


class _Watching(Loader):
    """Loads a fake engine as ever, and then puts ourselves before its calls."""

    def __init__(self, spec: ModuleSpec) -> None:
        assert spec.loader is not None
        self._loader = spec.loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        stage = _ENGINES[module.__name__]
        engine = getattr(module, f"Fake{stage.capitalize()}Engine")
        engine.run = _watched(module, stage, engine.run)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _ENGINES:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        return importlib.util.spec_from_loader(fullname, _Watching(spec), origin=spec.origin)


def _shift_clock(seconds: float) -> None:
    """Every way in which Python code asks for the time of day; the monotonic clock has no hour to be wrong about."""
    import datetime as dates

    monotonic_ns, plain = time.time_ns, dates.datetime

    class Shifted(dates.datetime):
        @classmethod
        def now(cls, tz: dates.tzinfo | None = None) -> Any:
            return plain.now(tz) + dates.timedelta(seconds=seconds)

        @classmethod
        def utcnow(cls) -> Any:
            return plain.now(dates.UTC).replace(tzinfo=None) + dates.timedelta(seconds=seconds)

    time.time = lambda: _now() + seconds
    time.time_ns = lambda: monotonic_ns() + int(seconds * 1e9)
    dates.datetime = Shifted  # type: ignore[misc]


def _clock_shift() -> float:
    """Seconds, from lines of ``WORD SECONDS``: who has the word on its command line has a clock that is wrong."""
    clock = _FOLDER / "clock"
    if not clock.exists():
        return 0.0
    words = dict(line.split() for line in clock.read_text().splitlines())
    return next((float(shift) for word, shift in words.items() if word in sys.orig_argv), 0.0)


if "FAULT_FOLDER" in os.environ:  # a process that was given an empty environment is left alone
    os.environ["PGAPPNAME"] = str(os.getpid())
    sys.meta_path.insert(0, _Finder())
    if shift := _clock_shift():
        _shift_clock(shift)
        _note({"at": _now(), "pid": os.getpid(), "shift": shift})
