"""The embedded servers, the supervisor and the stack, with real processes."""

import io
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import kombu
import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from typer.testing import CliRunner

from voxqueue.cli.main import app
from voxqueue.embedded import embedded_postgres, embedded_redis, running_stack
from voxqueue.embedded import redis as redis_module
from voxqueue.embedded import supervisor as supervisor_module
from voxqueue.embedded.processes import Child, free_port, hold
from voxqueue.embedded.stack import _children
from voxqueue.embedded.supervisor import Supervisor
from voxqueue.errors import MisconfiguredError

pytestmark = pytest.mark.integration

_GRACE = "VOXQUEUE_WORKER_GRACE_S"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not ``tmp_path``: another pytest that starts meanwhile closes its parents to the user that Postgres runs as."""
    made = Path(tempfile.mkdtemp(prefix="vq-"))
    yield made
    shutil.rmtree(made)


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come about in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """No such process, or a dead one that nobody has collected yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@pytest.fixture
def started() -> Callable[[], set[psutil.Process]]:
    """Tells the children that this process has since the test began; other tests' servers may be there all along."""
    before = set(psutil.Process().children())
    return lambda: set(psutil.Process().children()) - before


def python(name: str, code: str, grace_s: float = 5) -> Child:
    return Child(name, (sys.executable, "-uc", textwrap.dedent(code)), grace_s=grace_s)


# --- servers ----------------------------------------------------------------------------------------------------------


def test_postgres_keeps_its_data_in_a_folder_with_a_long_path(
    folder: Path, started: Callable[[], set[psutil.Process]]
) -> None:
    deep = folder / ("long" * 30) / ("path" * 30)
    (deep / "data.unfinished").mkdir(parents=True)
    (deep / "data.unfinished" / "PG_VERSION").write_text("18\n")  # as a kill -9 during the first start leaves it

    with embedded_postgres(deep) as url:
        assert url.startswith("postgresql+psycopg://")
        with connect(url) as connection:
            assert connection.execute("SELECT current_database()").fetchone() == ("voxqueue",)
            assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    assert started() == set()

    # A pid file from before a reboot, whose number now belongs to something else of the same user.
    stranger = subprocess.Popen(["/bin/sleep", "60"], user=(deep / "data").stat().st_uid)
    (deep / "data" / "postmaster.pid").write_text(f"{stranger.pid}\n{deep / 'data'}\n1\n5432\n/tmp\n\n1 1\nready\n")
    try:
        with embedded_postgres(deep) as url, connect(url) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes folders passable")
def test_as_root_only_closed_folders_are_opened_and_that_is_said_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever runs it as root must learn which of their folders others can pass through from now on."""
    closed, passable = folder / "closed", folder / "closed" / "passable"
    passable.mkdir(parents=True)
    for path, mode in ((folder, 0o700), (closed, 0o750), (passable, 0o711)):
        path.chmod(mode)
    with embedded_postgres(passable / "postgres", durable=False):
        pass
    [said] = [line for line in capsys.readouterr().err.splitlines() if "pass through" in line]
    assert said.endswith(f" {folder}, {closed}.") or f" {folder}, {closed}, " in said
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, closed, passable)] == [0o701, 0o751, 0o711]
    with embedded_postgres(passable / "postgres", durable=False):
        pass
    assert "pass through" not in capsys.readouterr().err


def test_redis_keeps_its_data_and_wants_its_password(folder: Path) -> None:
    with embedded_redis(folder) as url:
        with redis.Redis.from_url(url) as client:
            client.set("kept", "yes")
            assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
        port = client.get_connection_kwargs()["port"]
        stranger = redis.Redis("127.0.0.1", port, retry=Retry(NoBackoff(), 0))
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.get("kept")
        with kombu.Connection(url) as broker, broker.SimpleQueue("hints") as hints:
            hints.put("look")
            assert hints.get(timeout=5).payload == "look"
    with embedded_redis(folder) as url, redis.Redis.from_url(url) as client:
        assert client.get("kept") == b"yes"


def test_servers_stop_when_the_block_fails(folder: Path, started: Callable[[], set[psutil.Process]]) -> None:
    def fail() -> None:
        with embedded_redis(folder, durable=False):
            assert len(started()) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert started() == set()


def test_a_killed_parent_leaves_no_server_and_loses_nothing(folder: Path) -> None:
    code = """
        import sys, time
        from pathlib import Path
        from voxqueue.embedded import embedded_postgres, embedded_redis
        folder = Path(sys.argv[1])
        with embedded_postgres(folder / "postgres", durable=False) as database, embedded_redis(folder / "redis"):
            print(database, flush=True)
            time.sleep(60)
    """
    argv = [sys.executable, "-c", textwrap.dedent(code), str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        with connect(parent.stdout.readline().strip()) as connection:
            connection.execute("CREATE TABLE promised AS SELECT 7 AS number")
            servers = descendants(parent.pid)
            assert {server.name() for server in servers} >= {"postgres", "redis-server"}
            parent.kill()
    # At once: it waits until the old one is gone.
    sockets = (folder / "postgres" / "sockets").readlink()
    with embedded_postgres(folder / "postgres") as url, connect(url) as connection:
        assert connection.execute("SELECT number FROM promised").fetchone() == (7,)
    assert not sockets.exists()
    until(lambda: all(gone(server.pid) for server in servers))


def test_a_missing_redis_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_module, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(MisconfiguredError, match=r"\[embedded\].*VOXQUEUE_REDIS_URL"):
        embedded_redis(folder).__enter__()


def test_a_server_that_cannot_start_says_why(folder: Path, started: Callable[[], set[psutil.Process]]) -> None:
    with embedded_redis(folder):
        pass
    (folder / "appendonly.aof").write_bytes(b"this is not a log of commands\r\n")
    with pytest.raises(MisconfiguredError, match=r"redis did not start.*(?s:.)*Bad file format"):
        embedded_redis(folder).__enter__()
    assert started() == set()


def test_a_folder_has_one_owner(folder: Path) -> None:
    with hold(folder), pytest.raises(MisconfiguredError, match=f"in use by process {os.getpid()}"):
        hold(folder).__enter__()
    with hold(folder):
        pass


# --- supervisor -------------------------------------------------------------------------------------------------------


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


# --- stack ------------------------------------------------------------------------------------------------------------


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
        with pytest.raises(MisconfiguredError, match="in use"), running_stack(folder / "a"):
            pass

        shared = {name: stack.env[name] for name in stack.env if name.endswith(("DATABASE_URL", "REDIS_URL"))}
        with running_stack(folder / "b", env={**shared, "VOXQUEUE_S3_BUCKET": "notes"}, ready_s=None) as second:
            with pytest.raises(KeyError):
                second.process("postgres")
            assert "VOXQUEUE_STORAGE_DIR" not in second.env
            assert sorted(path.name for path in (folder / "b").iterdir()) == ["lock", "stack.log"]
    assert started() == set()


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
