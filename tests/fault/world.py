"""A whole stack that a test may break: what it stands on, a proxy before each of that, and the means to look inside."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil
from redis import Redis, RedisError

from tests import patience
from tests.fault.book import Book
from tests.fault.hooks import Hooks
from tests.fault.listener import Listener, listening
from tests.fault.points import Points
from tests.fault.proxy import Proxy
from tests.fault.servers import Layout, at_port, proxies_before, run_llm, run_servers, run_store
from tests.wire_llm import OllamaServer
from voxqueue.database.migrate import upgrade
from voxqueue.embedded import Stack, running_stack, supervisor
from voxqueue.embedded.supervisor import Supervisor
from voxqueue.fleet import Fleet
from voxqueue.settings import RedisSettings, WorkerSettings
from voxqueue.storage import BlobStore
from voxqueue.urls import for_psql

LEASE_S = 3.0
SWEEP_S = 1.0
_READY_S = 120.0

_ENV = {
    "VOXQUEUE_JOBS_LEASE_S": str(LEASE_S),
    "VOXQUEUE_JOBS_SWEEP_S": str(SWEEP_S),
    "VOXQUEUE_JOBS_HINT_STALE_S": "2",
    "VOXQUEUE_JOBS_RETRY_DELAY_S": "0.2",
    "VOXQUEUE_STT_ENGINES": "fake",
    "VOXQUEUE_LLM_ENGINES": "fake",
    "VOXQUEUE_TTS_ENGINES": "fake",
    "VOXQUEUE_LLM_DEADLINE_S": "20",
    "VOXQUEUE_JOBS_ORPHAN_S": "4",
    "VOXQUEUE_WEBHOOKS_ALLOW_NETWORKS": "127.0.0.0/8",
    "VOXQUEUE_WEBHOOKS_ALLOW_HTTP": "true",
    "VOXQUEUE_WEBHOOKS_SCHEDULE": ",".join(["0", "0.5", *["1"] * 60]),
    "VOXQUEUE_WEBHOOKS_TIMEOUT_S": "2",
}


@dataclass(slots=True)
class World:
    """A running stack and everything that can be broken of it.

    Attributes:
        servers: The supervisor of ``postgres`` and ``redis``.
        store: Before S3; None where blobs are on disk.
        llm: Before Ollama; None with a fake.
        ollama: That Ollama itself.
        blobs: The store, reached directly.
        redis_client, fleet: Redis and the workers' reports in it, reached directly.
        disk: The folder of the disk that blobs are on.
        frozen: Pids of workers that were stopped and went on: they may ask their engines in vain.
        sound: Keys of blobs that were found to be what their rows say; nothing changes a blob.
    """

    stack: Stack
    servers: Supervisor
    points: Points
    hooks: Hooks
    database: Proxy
    redis: Proxy
    store: Proxy | None
    llm: Proxy | None
    ollama: OllamaServer | None
    blobs: BlobStore
    disk: Path | None
    redis_client: Redis
    fleet: Fleet
    workers: int
    listener: Listener
    book: Book
    frozen: set[int] = field(default_factory=set)
    sound: set[str] = field(default_factory=set)

    def kill(self, pid: int) -> None:
        """SIGKILL; returns when the process is gone."""
        os.kill(pid, signal.SIGKILL)
        until(lambda: not _is_running(pid), f"process {pid} to be gone")

    def wait_until_whole(self) -> None:
        """Return when every process is there again, the workers warm, and the API and the fleet ready.

        The fleet alone would not do: it counts a worker that was just killed for a while.
        """
        until(self._has_all_workers, "all workers to be warm", _READY_S)
        self.stack.wait_until_ready(_READY_S)
        until(lambda: httpx.get(f"{self.stack.api_url}/readyz", timeout=10).status_code == 200, "the API to be ready")

    def _has_all_workers(self) -> bool:
        warm = {report.pid for report in self.fleet.workers() if report.is_warm}
        names = ("courier", *(f"worker-{number}" for number in range(1, self.workers + 1)))
        return warm >= {self.stack.process(name) for name in names}

    def server_restarts(self, name: str) -> "_Restart":
        """Begin to watch for another process in the place of ``postgres`` or ``redis``."""
        return _Restart(self.servers, name)

    def log_tail(self, lines: int = 60) -> str:
        """The end of the stack's log, without the requests that went well: we ask much while we wait."""
        assert self.stack.log_path
        log = self.stack.log_path.read_text(errors="replace").splitlines()
        return "\n".join([line for line in log if 'HTTP/1.1" 2' not in line][-lines:])


class _Restart:
    """Knows whether a server has another process by now."""

    def __init__(self, servers: Supervisor, name: str) -> None:
        self._servers, self._name = servers, name
        self.pid = servers.pid(name)

    def wait(self) -> None:
        until(lambda: self._servers.pid(self._name) != self.pid, f"{self._name} to be started again")


@contextmanager
def world(layout: Layout) -> Iterator[World]:
    """Run a stack, its servers and their proxies until the block ends."""
    with ExitStack() as held:
        held.enter_context(_restarting_at_once())
        folder = Path(held.enter_context(TemporaryDirectory(prefix="voxqueue-fault-")))
        database, broker, servers = run_servers(held, folder)
        upgrade(database.url)
        points = Points(for_psql(database.url))
        hooks = Hooks(folder / "hooks")
        proxies = proxies_before(held, database, broker)
        store, blobs, disk, store_env = run_store(held, layout, folder)
        llm, model, llm_env = run_llm(held, layout)
        listener = held.enter_context(listening())
        env = {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            **_ENV,
            **hooks.env,
            "VOXQUEUE_DATABASE_URL": f"postgresql+psycopg://postgres@127.0.0.1:{proxies[0].port}/voxqueue",
            "VOXQUEUE_REDIS_URL": at_port(broker.url, proxies[1].port),
            "VOXQUEUE_WEBHOOKS_PORTS": str(listener.port),
            **store_env,
            **llm_env,
        }
        held.enter_context(_log_shown(folder / "stack" / "stack.log"))
        stack = held.enter_context(running_stack(folder / "stack", env=env, workers=layout.workers, ready_s=_READY_S))
        client = held.enter_context(Redis.from_url(broker.url, socket_timeout=5))
        fleet = Fleet(RedisSettings(url=broker.url), WorkerSettings())
        held.callback(fleet.close)
        listener.subscribe(stack.api_url)
        book = held.enter_context(Book(stack.api_url, listener.job_url))
        yield World(
            stack=stack,
            servers=servers,
            points=points,
            hooks=hooks,
            database=proxies[0],
            redis=proxies[1],
            store=store,
            llm=llm,
            ollama=model,
            blobs=blobs,
            disk=disk,
            redis_client=client,
            fleet=fleet,
            workers=len(layout.workers),
            listener=listener,
            book=book,
        )


@contextmanager
def _restarting_at_once() -> Iterator[None]:
    """Here a child that dies has been killed: no reason to let its successor wait ever longer."""
    before, supervisor._HEALTHY_S = supervisor._HEALTHY_S, 1.0
    try:
        yield
    finally:
        supervisor._HEALTHY_S = before


@contextmanager
def _log_shown(log: Path) -> Iterator[None]:
    """Print the end of the log when the stack does not come up, or when what is done with it fails."""
    try:
        yield
    except BaseException:
        print(log.read_text(errors="replace")[-6000:] if log.exists() else "there is no log")
        raise


def _is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], object], what: str, timeout_s: float = 60) -> None:
    """Wait for what is to come about; whoever does not answer when asked for it has not got there yet."""

    def holds() -> object:
        with suppress(httpx.TransportError, RedisError):
            return condition()
        return False

    patience.until(holds, timeout_s, left=f"in time: {what}")
