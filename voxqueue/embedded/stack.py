"""The whole of Voxqueue on one machine: servers, API, workers and Flower under one supervisor.

``voxqueue up`` runs it in a terminal, the demo and the acceptance tests run it in a folder; it is the same stack. Must
not import the API or the workers: they are other processes.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import httpx
import redis
from pydantic import ValidationError

from voxqueue import tracing
from voxqueue.database.explained import explained
from voxqueue.database.migrate import upgrade
from voxqueue.embedded.addresses import written_down
from voxqueue.embedded.postgres import prepared_postgres
from voxqueue.embedded.processes import LOOPBACK, Child, Server, await_answer, free_port, hold, port_is_taken
from voxqueue.embedded.redis import prepared_redis
from voxqueue.embedded.supervisor import Supervisor
from voxqueue.errors import MisconfiguredError, Unavailable
from voxqueue.listening import check_can_listen
from voxqueue.serving import SERVER
from voxqueue.settings import DatabaseSettings, RedisSettings, WorkerSettings
from voxqueue.urls import without_password

ALL_STAGES = ("worker", "--stages", "stt,llm,tts")
_GRACE = "VOXQUEUE_WORKER_GRACE_S"
_METRICS = "VOXQUEUE_METRICS_PORT"
_LAST_PORT = 65_535
_EXIT_S = 5.0  # what a worker needs after its grace period, to hand back what it still holds; a busy one is slow
_OTHERS_S = 35.0  # what everything beside the workers may take to end, one after the other
_SERVERS: tuple[tuple[str, Callable[..., Any], str], ...] = (
    ("VOXQUEUE_DATABASE_URL", prepared_postgres, "postgres"),
    ("VOXQUEUE_REDIS_URL", prepared_redis, "redis"),
)
_PLACES = ("VOXQUEUE_DATABASE_URL", "VOXQUEUE_REDIS_URL", "VOXQUEUE_STORAGE_DIR")  # what we may bring ourselves


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack.

    Attributes:
        api_url: ``http://127.0.0.1:PORT``, without a slash.
        flower_url: The same for Flower; None without it.
        env: The environment of every process, with the addresses of all servers.
        metrics_urls: Where each process shows its metrics, by its name; empty where VOXQUEUE_METRICS_PORT is not set.
        log_path: Where the output of the children goes; None for the terminal.
    """

    api_url: str
    flower_url: str | None
    metrics_urls: dict[str, str]
    env: dict[str, str]
    log_path: Path | None
    supervisor: Supervisor

    def process(self, name: str) -> int:
        """The pid of ``postgres``, ``redis``, ``api``, ``worker-1``, ``worker-2``, ..., ``courier`` or ``flower``.

        Raises:
            KeyError: The stack has no such child.
        """
        return self.supervisor.pid(name)

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """What ``GET /api/ready`` says: whether the fleet is ready, and the body; empty while the API is not there."""
        try:
            answer = httpx.get(f"{self.api_url}/api/ready", timeout=5, trust_env=False)
            body = answer.json()
        except (httpx.TransportError, ValueError):
            return False, {}
        return answer.status_code == 200, body if isinstance(body, dict) else {}

    def wait_until_ready(self, timeout_s: float = 60) -> None:
        """Return once the fleet is ready; `Unavailable`, with the last answer, if that takes too long."""
        give_up = time.monotonic() + timeout_s
        body: dict[str, Any] = {}
        while time.monotonic() < give_up and self.supervisor.alive:
            ready, body = self.readiness()
            if ready:
                return
            time.sleep(0.1)
        raise Unavailable(f"Not ready after {timeout_s:g} s: {body or 'the API does not answer'}. Log: {self.log_path}")


@contextmanager
def running_stack(
    folder: Path,
    *,
    port: int | None = None,
    flower_port: int | None = None,
    env: Mapping[str, str] | None = None,
    workers: Sequence[Sequence[str]] = (ALL_STAGES,),
    ready_s: float | None = 60,
    durable: bool = True,
) -> Iterator[Stack]:
    """Run the stack in ``folder`` without a terminal until the block ends; all output goes to ``stack.log_path``.

    Args:
        folder: Made if missing; holds all data.
        port: The API's; None takes a free one.
        flower_port: None leaves Flower out.
        env: Variables over our own environment. A server whose address is set there is not started.
        workers: Arguments of ``voxqueue`` for each worker; they are named worker-1, worker-2 and so on.
        ready_s: Seconds within which the fleet must be ready; None yields without waiting for that.
        durable: False lets embedded servers forget what they hold if the machine stops.

    Raises:
        MisconfiguredError: A port is taken, the folder is in use, a setting cannot be read, or a server is missing or
            does not start.
        Unavailable: The fleet was not ready in time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / "stack.log"
    with log_path.open("a", encoding="utf-8") as out:
        env = {**os.environ, **(env or {})}
        ports = (port or free_port(), flower_port)
        supervisor = supervisor_for(env, out)
        with started(supervisor, folder, ports, env, workers, log_path=log_path, durable=durable) as stack:
            if ready_s is not None:
                stack.wait_until_ready(ready_s)
            yield stack


def supervisor_for(env: Mapping[str, str], out: TextIO) -> Supervisor:
    """Who starts the processes of a stack in this environment and tells `out` of them.

    Raises:
        MisconfiguredError: The workers' time to end cannot be read.
    """
    return Supervisor(out, stop_s=_worker_grace_s(env) + _OTHERS_S)


@contextmanager
def started(
    supervisor: Supervisor,
    folder: Path,
    ports: tuple[int, int | None],
    env: Mapping[str, str],
    workers: Sequence[Sequence[str]] = (ALL_STAGES,),
    *,
    log_path: Path | None = None,
    durable: bool = True,
) -> Iterator[Stack]:
    """Have everything started, whoever is ready for it or not, and stopped in order when the block ends.

    Args:
        supervisor: Of `supervisor_for`.
        folder: It exists; holds all data.
        ports: The API's, and Flower's or None.
        env: The whole environment.
        workers: As for `running_stack`.
        log_path: Where the supervisor's output goes; None for the terminal.
        durable: As for `running_stack`.

    Raises:
        MisconfiguredError: As for `running_stack`.
    """
    port, flower_port = ports
    _refuse_taken(port, flower_port)
    _refuse_taken_metrics(env, len(workers) + 2)
    if env.get("VOXQUEUE_REDIS_URL"):
        _ask_redis(env)
    tracing.collector(env)  # a setting that makes no sense is better found now than by every child
    with ExitStack() as held:
        held.enter_context(hold(folder))
        servers: list[Server] = []
        given, env = env, {"VOXQUEUE_LOG_FORMAT": "pretty", **env, "PYTHONUNBUFFERED": "1"}
        for variable, prepare, place in _SERVERS:
            if not env.get(variable):
                servers.append(held.enter_context(prepare(folder / place, durable=durable)))
                env[variable] = servers[-1].url
        if not env.get("VOXQUEUE_S3_BUCKET") and not env.get("VOXQUEUE_STORAGE_DIR"):
            blobs = folder.resolve() / "blobs"
            blobs.mkdir(exist_ok=True)
            env["VOXQUEUE_STORAGE_DIR"] = str(blobs)
        held.callback(_stop, supervisor)  # registered last: sockets and locks go when nobody needs them any more
        for server in servers:
            supervisor.start(server.child)
        for server in servers:
            await_answer(server, lambda: supervisor.alive)
        _migrate(env)
        for child in _children(env, port, flower_port, workers):
            supervisor.start(child)
        own = {name: env[name] for name in _PLACES if name in env and not given.get(name)}
        held.enter_context(written_down(folder, own))
        flower_url = f"http://{LOOPBACK}:{flower_port}" if flower_port else None
        metrics = _metrics_urls(env, len(workers))
        yield Stack(f"http://{LOOPBACK}:{port}", flower_url, metrics, env, log_path, supervisor)


def _stop(supervisor: Supervisor) -> None:
    supervisor.say("stopping")
    supervisor.stop()


def _refuse_taken(port: int, flower_port: int | None) -> None:
    if port == flower_port:
        raise MisconfiguredError(f"The API and Flower cannot share port {port}: choose another --flower-port.")
    for option, number in (("--port", port), ("--flower-port", flower_port)):
        if number:
            check_can_listen(LOOPBACK, number, port_option=option)


def _refuse_taken_metrics(env: Mapping[str, str], number: int) -> None:
    for one in range(number):
        port = _with_metrics(env, one).get(_METRICS, "")
        if port.isdecimal() and (int(port) > _LAST_PORT or port_is_taken(int(port))):
            why = "is taken by another program" if int(port) <= _LAST_PORT else "does not exist"
            raise MisconfiguredError(
                f"Port {port} {why}: choose another {_METRICS}. The processes of this stack take {number} ports from "
                "there on."
            )


def _with_metrics(env: Mapping[str, str], number: int) -> dict[str, str]:
    """The environment of one of several processes: where metrics have a port, each has its own, one after the other."""
    first = env.get(_METRICS, "")
    return {**env, **({_METRICS: str(int(first) + number)} if first.isdecimal() else {})}


def _metrics_urls(env: Mapping[str, str], workers: int) -> dict[str, str]:
    """Where the processes of `_children` show their metrics."""
    host = env.get("VOXQUEUE_METRICS_HOST") or LOOPBACK
    names = ("api", *(f"worker-{number}" for number in range(1, workers + 1)), "courier")
    ports = {name: _with_metrics(env, number).get(_METRICS, "") for number, name in enumerate(names)}
    return {name: f"http://{host}:{port}/metrics" for name, port in ports.items() if port.isdecimal()}


def _migrate(env: Mapping[str, str]) -> None:
    url = DatabaseSettings(url=env["VOXQUEUE_DATABASE_URL"]).require_url()
    with explained(url):
        upgrade(url)


def _ask_redis(env: Mapping[str, str]) -> None:
    """Raise `Unavailable` if it does not answer: one that is away at the start is more likely a wrong address."""
    url = RedisSettings(url=env["VOXQUEUE_REDIS_URL"]).require_url()
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5) as client:
            client.ping()
    except redis.RedisError as error:
        raise Unavailable(
            f"Redis at {without_password(url)} cannot be used: {str(error).removesuffix('.')}. "
            "VOXQUEUE_REDIS_URL says which one it is."
        ) from error


def _worker_grace_s(env: Mapping[str, str]) -> float:
    """How long after SIGTERM a worker may take to end."""
    try:
        chosen = WorkerSettings.model_validate({"grace_s": env.get(_GRACE) or WorkerSettings().grace_s})
    except ValidationError as error:
        raise MisconfiguredError(f"{_GRACE} must be a number of seconds, 0 or more.") from error
    return chosen.grace_s + _EXIT_S


def _children(
    env: Mapping[str, str], port: int, flower_port: int | None, workers: Sequence[Sequence[str]]
) -> Iterator[Child]:
    """Every process but the servers, in the order of their start."""
    python = (sys.executable, "-m")
    options = ("--host", LOOPBACK, "--port", str(port), "--no-access-log", "--timeout-graceful-shutdown", "3")
    # On a loopback address nobody needs a key, unless somebody wants to see how it is with keys.
    env_of_api = {**env, "VOXQUEUE_API_KEYS": env.get("VOXQUEUE_API_KEYS") or "open"}
    if flower_port:
        env_of_api = {"VOXQUEUE_FLOWER_URL": f"http://{LOOPBACK}:{flower_port}", **env_of_api}
    env_of_api = _with_metrics(env_of_api, 0)
    yield Child("api", (*python, *SERVER, *options), env_of_api, grace_s=6)
    grace_s = _worker_grace_s(env)
    voxqueue = (*python, "voxqueue")
    for number, words in enumerate(workers, start=1):
        own = _with_metrics(env, number)
        yield Child(f"worker-{number}", (*voxqueue, *words), own, grace_s=grace_s, together="workers")
    own = _with_metrics(env, len(workers) + 1)
    yield Child("courier", (*voxqueue, "courier"), own, grace_s=grace_s, together="workers")
    if flower_port:
        yield Child("flower", (*python, "voxqueue", "flower", "--port", str(flower_port)), env, grace_s=3)
