"""The whole stack as one process runs it: what it starts, and that nothing of it is left behind."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from tests.integration.embedded.processes import connect, descendants, gone
from tests.patience import until
from voxqueue.cli.main import app
from voxqueue.embedded import Stack, running_stack
from voxqueue.embedded.processes import free_port
from voxqueue.errors import MisconfiguredError

pytestmark = pytest.mark.integration


def test_a_stack_starts_what_is_not_configured_and_stops_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[[], set[psutil.Process]]
) -> None:
    for variable in ("DATABASE_URL", "REDIS_URL", "S3_BUCKET", "STORAGE_DIR"):
        monkeypatch.delenv(f"VOXQUEUE_{variable}", raising=False)
    two = [["worker", "--stages", "stt"], ["worker", "--stages", "llm,tts"]]
    fake = {"VOXQUEUE_ENGINES": "fake"}
    with running_stack(folder / "a", env=fake, workers=two, ready_s=None, durable=False) as stack:
        for name in ("postgres", "redis", "api", "worker-1", "worker-2", "courier"):
            assert stack.process(name) > 0
        assert stack.env["VOXQUEUE_STORAGE_DIR"] == str(folder / "a" / "blobs")
        assert stack.env["VOXQUEUE_ENGINES"] == "fake"
        with connect(stack.env["VOXQUEUE_DATABASE_URL"]) as connection:
            assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
        check_commands_beside_it(folder / "a", stack)
        with pytest.raises(MisconfiguredError, match="in use"), running_stack(folder / "a"):
            pass

        shared = {name: stack.env[name] for name in stack.env if name.endswith(("DATABASE_URL", "REDIS_URL"))}
        with running_stack(folder / "b", env={**shared, "VOXQUEUE_S3_BUCKET": "notes"}, ready_s=None) as second:
            with pytest.raises(KeyError):
                second.process("postgres")
            assert "VOXQUEUE_STORAGE_DIR" not in second.env
            assert sorted(path.name for path in (folder / "b").iterdir()) == ["lock", "stack.log"]
    assert not (folder / "a" / "servers.env").exists(), "it names servers that are gone"
    assert started() == set()


def check_commands_beside_it(data: Path, stack: Stack) -> None:
    """Commands that need a server find the stack's own by the file that it writes, which is for its owner alone."""
    file = data / "servers.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shell = '. "$0" && "$1" -m voxqueue keys list && echo "$VOXQUEUE_REDIS_URL $VOXQUEUE_STORAGE_DIR"'
    argv = ["sh", "-c", shell, str(file), sys.executable]
    ran = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    assert "There are no keys" in ran.stderr
    assert ran.stdout.split() == [stack.env["VOXQUEUE_REDIS_URL"], stack.env["VOXQUEUE_STORAGE_DIR"]]


@pytest.fixture(scope="module")
def used_folder() -> Iterator[Path]:
    """One data folder for what follows: each start finds what the one before left behind when it was killed."""
    made = Path(tempfile.mkdtemp(prefix="vq-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def terminal(used_folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`voxqueue up`, as soon as everything has been started."""
    code = f"""
import sys
from pathlib import Path
from voxqueue.embedded import run_stack
run_stack(Path(sys.argv[1]), port={free_port()}, flower_port=None)
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith("VOXQUEUE_")}
    argv = [sys.executable, "-uc", code, str(used_folder)]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert any("waiting for the API" in line or "INITIALIZING" in line for line in process.stdout)
        yield process
        process.kill()


def test_ctrl_c_stops_all_and_the_second_one_kills(terminal: subprocess.Popen[str]) -> None:
    children = descendants(terminal.pid)
    by_name = {child.name(): child for child in reversed(children)}  # the first of a name is the parent of the others
    by_name["postgres"].suspend()  # a server that does not answer to being stopped

    terminal.send_signal(signal.SIGINT)
    assert terminal.stdout
    assert any("| stopping" in line for line in terminal.stdout)
    until(lambda: gone(by_name["redis-server"].pid))
    assert terminal.poll() is None

    terminal.send_signal(signal.SIGINT)
    assert terminal.wait(20) == 0
    until(lambda: all(gone(child.pid) for child in children))


def test_a_killed_stack_leaves_nothing_and_starts_again(terminal: subprocess.Popen[str], used_folder: Path) -> None:
    children = descendants(terminal.pid)
    terminal.kill()
    terminal.wait()
    with (
        running_stack(used_folder, ready_s=None) as stack,
        connect(stack.env["VOXQUEUE_DATABASE_URL"]) as connection,
    ):
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    until(lambda: all(gone(child.pid) for child in children))


def test_a_taken_port_is_one_line_before_anything_starts(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option in ("--port", "--flower-port"):
            ports = ["--port", str(free_port()), option, str(port)]
            result = CliRunner().invoke(app, ["up", "--data", str(folder / "data"), *ports])
            assert result.exit_code == 1
            assert result.stderr == f"Error: Port {port} is taken by another program: choose another with {option}.\n"
    assert not (folder / "data").exists()


def test_ports_for_metrics_beyond_the_last_one_are_refused_in_words(folder: Path) -> None:
    """The setting itself is a port, but not every process of the stack would have one."""
    high = {"VOXQUEUE_METRICS_PORT": "65534"}
    with pytest.raises(MisconfiguredError, match="VOXQUEUE_METRICS_PORT"), running_stack(folder / "data", env=high):
        pass
