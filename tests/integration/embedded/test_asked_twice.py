"""Whoever asks a second time does not want to wait: everything ends at once, and nothing is left behind."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from tests.integration.embedded.processes import descendants, gone
from tests.patience import until
from voxqueue.embedded.processes import Child, free_port, hold
from voxqueue.embedded.supervisor import Supervisor

pytestmark = pytest.mark.integration

# As an engine's process does that must outlive a Ctrl-C in the terminal, and is about to load its model.
_IN_A_SESSION_OF_ITS_OWN = """
    import signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    print("started", subprocess.Popen(sleep, start_new_session=True).pid)
    time.sleep(600)
"""


def test_what_a_child_has_started_in_a_session_of_its_own_ends_with_it() -> None:
    out = io.StringIO()
    supervisor = Supervisor(out)
    for name in ("first", "second"):
        program = (sys.executable, "-uc", textwrap.dedent(_IN_A_SESSION_OF_ITS_OWN))
        supervisor.start(Child(name, program, grace_s=600))
    until(lambda: out.getvalue().count("started") == 2)
    pids = [int(line.split()[-1]) for line in out.getvalue().splitlines() if "started" in line]
    stopping = threading.Thread(target=supervisor.stop)
    stopping.start()
    until(lambda: supervisor.stopping)
    supervisor.kill()
    stopping.join(timeout=30)
    assert not supervisor.alive
    until(lambda: all(gone(pid) for pid in pids))
    assert "voxqueue | asked again: killing second, first" in out.getvalue()
    assert "does not end" not in out.getvalue(), "nobody has waited for it"


def test_a_stack_that_is_asked_twice_while_it_starts_leaves_nothing(folder: Path) -> None:
    """The first signal comes while the data folder is being made, with servers half started."""
    code = f"from pathlib import Path; from voxqueue.embedded import run_stack; run_stack(Path({str(folder)!r}), "
    code += f"port={free_port()}, flower_port=None)"
    env = {name: value for name, value in os.environ.items() if not name.startswith("VOXQUEUE_")}
    with subprocess.Popen([sys.executable, "-uc", code], env=env, stdout=subprocess.PIPE, text=True) as stack:
        assert stack.stdout
        assert "starting" in stack.stdout.readline()
        until(lambda: descendants(stack.pid) != [])
        stack.send_signal(signal.SIGTERM)
        stack.send_signal(signal.SIGTERM)
        rest = stack.stdout.read()
        assert stack.wait(30) == 0
    assert "Traceback" not in rest
    assert rest.endswith("voxqueue | stopped\n")
    assert not (folder / "postgres" / "sockets").is_symlink()
    for place in (folder, folder / "postgres"):
        with hold(place):  # a server that lives on holds its folder
            pass
