"""The embedded Postgres and Redis: what they keep, who may use them, and how they end."""

import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import kombu
import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.integration.embedded.processes import connect, descendants, gone
from tests.patience import until
from voxqueue.embedded import embedded_postgres, embedded_redis
from voxqueue.embedded import redis as redis_module
from voxqueue.embedded.processes import hold
from voxqueue.errors import MisconfiguredError

pytestmark = pytest.mark.integration


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
