"""The supervisor, with real children: when it starts them again, how it stops them, what it shows of them."""

import io
import os
import re
import signal
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.integration.embedded.processes import gone
from tests.patience import until
from voxqueue.embedded import running_stack
from voxqueue.embedded import supervisor as supervisor_module
from voxqueue.embedded.processes import Child
from voxqueue.embedded.stack import _children
from voxqueue.embedded.supervisor import Supervisor
from voxqueue.errors import MisconfiguredError

pytestmark = pytest.mark.integration


_GRACE = "VOXQUEUE_WORKER_GRACE_S"


def python(name: str, code: str, grace_s: float = 5) -> Child:
    return Child(name, (sys.executable, "-uc", textwrap.dedent(code)), grace_s=grace_s)


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def supervisor(out: io.StringIO) -> Iterator[Supervisor]:
    made = Supervisor(out)
    yield made
    made.kill()
    made.stop()


def test_a_dying_child_is_started_again_after_growing_pauses(supervisor: Supervisor, out: io.StringIO) -> None:
    supervisor.start(python("dying", "import time; print('born', time.monotonic()); raise SystemExit(3)"))
    until(lambda: out.getvalue().count("born") == 3)
    born = [float(at) for at in re.findall(r"born (\S+)", out.getvalue())]
    assert born[1] - born[0] >= 0.5
    assert born[2] - born[1] >= 1.0
    until(lambda: out.getvalue().count("again") == 3)
    assert re.findall(
        r"^voxqueue \| dying ended with status 3; starting it again in (.*) s$", out.getvalue(), re.M
    ) == [
        "0.5",
        "1",
        "2",
    ]


def test_a_child_that_lived_long_is_started_again_soon(
    supervisor: Supervisor, out: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "_HEALTHY_S", 0.2)
    supervisor.start(python("mortal", "import time; time.sleep(0.3)"))
    until(lambda: out.getvalue().count("again in") == 2)
    assert out.getvalue().count("again in 0.5 s") == 2


def test_a_killed_child_has_a_successor_and_its_own_children_die(supervisor: Supervisor, out: io.StringIO) -> None:
    code = "import subprocess, time; print('has', subprocess.Popen(['/bin/sleep', '60']).pid); time.sleep(60)"
    supervisor.start(python("parent", code))
    until(lambda: "has" in out.getvalue())
    first, grandchild = supervisor.pid("parent"), int(re.findall(r"has (\d+)", out.getvalue())[0])
    os.kill(first, signal.SIGKILL)
    until(lambda: supervisor.pid("parent") != first)
    assert "parent was ended by signal 9" in out.getvalue()
    until(lambda: gone(grandchild))


def test_stop_goes_in_reverse_and_kills_who_ignores_it(supervisor: Supervisor, out: io.StringIO) -> None:
    polite = """
        import signal, sys, time
        def leave(*_):
            time.sleep(0.3)  # long enough for the next to overtake, if they were told together
            sys.exit(print("bye"))
        signal.signal(signal.SIGTERM, leave)
        print("up")
        time.sleep(60)
    """
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"
    for child in (python("one", polite), python("deaf", deaf, grace_s=0.5), python("three", polite)):
        supervisor.start(child)
    until(lambda: out.getvalue().count("| up") == 3)
    pids = [supervisor.pid(name) for name in ("one", "deaf", "three")]

    began = time.monotonic()
    supervisor.stop()

    assert time.monotonic() - began >= 1.1  # one after the other
    ends = [line for line in out.getvalue().splitlines() if "bye" in line or "killing" in line]
    assert ends == ["three    | bye", "voxqueue | deaf does not end; killing it", "one      | bye"]
    assert all(not psutil.pid_exists(pid) for pid in pids)


def test_stop_keeps_to_its_limit_whatever_the_graces_are(out: io.StringIO) -> None:
    supervisor = Supervisor(out, stop_s=2.5)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"
    for name in ("one", "two"):
        supervisor.start(python(name, deaf, grace_s=30))
    until(lambda: out.getvalue().count("| up") == 2)
    began = time.monotonic()
    supervisor.stop()
    assert 2.4 <= time.monotonic() - began < 10


def test_neighbours_that_belong_together_are_stopped_at_the_same_time(
    supervisor: Supervisor, out: io.StringIO, tmp_path: Path
) -> None:
    """Else the second of two workers is left with what the first one leaves of the time there is for all."""
    waits = """
        import pathlib, signal, sys, time
        told, other = pathlib.Path("{folder}/{name}"), pathlib.Path("{folder}/{other}")
        def leave(*_):
            told.touch()
            while not other.exists():
                time.sleep(0.01)
            sys.exit(print("bye"))
        signal.signal(signal.SIGTERM, leave)
        print("up")
        time.sleep(60)
    """
    for name, other in (("left", "right"), ("right", "left")):
        code = waits.format(folder=tmp_path, name=name, other=other)
        supervisor.start(replace(python(name, code, grace_s=30), together="both"))
    until(lambda: out.getvalue().count("| up") == 2)
    supervisor.stop()
    assert out.getvalue().count("| bye") == 2


@pytest.mark.parametrize(
    ("set_to", "expected"), [({}, 15), ({_GRACE: ""}, 15), ({_GRACE: "0"}, 5), ({_GRACE: "30"}, 35)]
)
def test_a_stack_gives_its_workers_the_grace_that_they_are_told_of(set_to: dict[str, str], expected: float) -> None:
    children = {child.name: child for child in _children(set_to, 1, None, [("worker",), ("worker",)])}
    for name in ("worker-1", "worker-2", "courier"):
        assert (children[name].grace_s, children[name].together) == (expected, "workers")


@pytest.mark.parametrize("nonsense", ["soon", "-1"])
def test_a_grace_that_is_no_time_is_refused_in_words(tmp_path: Path, nonsense: str) -> None:
    with (
        pytest.raises(MisconfiguredError, match="VOXQUEUE_WORKER_GRACE_S must be a number"),
        running_stack(tmp_path, env={_GRACE: nonsense}),
    ):
        pass


def test_lines_are_whole_and_carry_the_name(supervisor: Supervisor, out: io.StringIO) -> None:
    code = """
        import os, time
        for number in range(100):
            os.write(1 + number % 2, b"half a li")
            time.sleep(0.001)
            os.write(1 + number % 2, b"ne\\n")
        os.write(1, b"without an end")
        os.close(1), os.close(2)
        time.sleep(60)
    """
    for name in ("left", "right"):
        supervisor.start(python(name, code))
    until(lambda: out.getvalue().count("without an end") == 2)
    for name in ("left ", "right"):
        mine = [line for line in out.getvalue().splitlines() if line.startswith(name)]
        assert mine == [f"{name}    | half a line"] * 100 + [f"{name}    | without an end"]
    assert len(out.getvalue().splitlines()) == 202


def test_names_are_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    Supervisor(terminal).say("hello", "api", 36)
    assert terminal.getvalue() == "\x1b[36mapi     \x1b[0m | hello\n"
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    Supervisor(plain).say("hello", "api", 36)
    assert plain.getvalue() == "api      | hello\n"
