"""What a stack stands on: Postgres, Redis, a store and a language model, started here, and a proxy before each."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import boto3
from pydantic import SecretStr

from tests.fault.proxy import Proxy
from tests.wire_llm import OllamaServer, ollama
from tests.wire_seaweedfs import seaweedfs_server
from voxqueue.embedded.postgres import prepared_postgres
from voxqueue.embedded.processes import Server, await_answer
from voxqueue.embedded.redis import prepared_redis
from voxqueue.embedded.stack import ALL_STAGES
from voxqueue.embedded.supervisor import Supervisor
from voxqueue.settings import S3Settings
from voxqueue.storage import BlobStore, DiskStore
from voxqueue.storage.s3 import S3Store

BUCKET = "voxqueue"
_DISK = "24m"
_MODEL = "llama3.2"


@dataclass(frozen=True, slots=True)
class Layout:
    """What a stack is made of."""

    name: str
    workers: tuple[tuple[str, ...], ...]
    store: Literal["s3", "disk"]
    llm: Literal["fake", "ollama"]


CLUSTER = Layout("cluster", tuple(("worker", "--stages", stage) for stage in ("stt", "llm", "tts")), "s3", "fake")
"""A worker for each stage, so that every job changes hands twice; blobs in S3."""

MACHINE = Layout("machine", (ALL_STAGES,), "disk", "ollama")
"""One worker for all stages, which asks an Ollama; blobs on a small disk of their own."""


def run_servers(held: ExitStack, folder: Path) -> tuple[Server, Server, Supervisor]:
    """Postgres and Redis, each started again when it dies, and who does that."""
    out = held.enter_context((folder / "servers.log").open("w"))
    database = held.enter_context(prepared_postgres(folder / "postgres"))
    broker = held.enter_context(prepared_redis(folder / "redis"))
    servers = Supervisor(out)
    held.callback(servers.stop)
    for server in (database, broker):
        servers.start(server.child)
    for server in (database, broker):
        await_answer(server, lambda: servers.alive)
    return database, broker, servers


def proxies_before(held: ExitStack, database: Server, broker: Server) -> tuple[Proxy, Proxy]:
    """One before Postgres, one before Redis."""
    sockets = Path(database.url.partition("host=")[2].replace("%2F", "/"))
    port = urlsplit(broker.url).port
    assert port
    proxies = Proxy(sockets / ".s.PGSQL.5432"), Proxy(("127.0.0.1", port))
    for proxy in proxies:
        held.callback(proxy.close)
    return proxies


def run_store(
    held: ExitStack, layout: Layout, folder: Path
) -> tuple[Proxy | None, BlobStore, Path | None, Mapping[str, str]]:
    """The proxy before S3, the store itself, or the disk without a proxy, and the settings that lead there."""
    if layout.store == "disk":
        disk = held.enter_context(small_disk(folder / "blobs"))
        return None, DiskStore(disk), disk, {"VOXQUEUE_STORAGE_DIR": str(disk), "VOXQUEUE_S3_BUCKET": ""}
    own = folder / "seaweedfs"
    own.mkdir()
    endpoint = held.enter_context(seaweedfs_server(own, access_key="key", secret_key="secret"))
    proxy = Proxy(("127.0.0.1", urlsplit(endpoint).port or 0))
    held.callback(proxy.close)
    access = {"region": "us-east-1", "access_key_id": "key", "secret_access_key": "secret"}
    boto3.Session("key", "secret", region_name="us-east-1").client("s3", endpoint_url=endpoint).create_bucket(
        Bucket=BUCKET
    )
    direct = S3Settings(
        bucket=BUCKET,
        endpoint_url=endpoint,
        region="us-east-1",
        access_key_id="key",
        secret_access_key=SecretStr("secret"),
    )
    env = {f"VOXQUEUE_S3_{name.upper()}": value for name, value in access.items()}
    env |= {"VOXQUEUE_S3_BUCKET": BUCKET, "VOXQUEUE_S3_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}
    return proxy, S3Store(direct), None, {**env, "VOXQUEUE_STORAGE_DIR": ""}


def run_llm(held: ExitStack, layout: Layout) -> tuple[Proxy | None, OllamaServer | None, Mapping[str, str]]:
    """The proxy before Ollama, that Ollama, and the settings that lead there; nothing where llm is a fake."""
    if layout.llm == "fake":
        return None, None, {}
    server = held.enter_context(ollama(_MODEL))
    proxy = Proxy(("127.0.0.1", server.wire.port))
    held.callback(proxy.close)
    env = {
        "VOXQUEUE_LLM_ENGINES": "ollama",
        "VOXQUEUE_OLLAMA_URL": f"http://127.0.0.1:{proxy.port}",
        "VOXQUEUE_OLLAMA_MODEL": _MODEL,
        "VOXQUEUE_OLLAMA_TIMEOUT_S": "2",
        "VOXQUEUE_OLLAMA_PARALLEL": "4",
    }
    return proxy, server, env


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk that can be filled. Needs root, as the machines have on which this is run."""
    folder.mkdir()
    subprocess.run([_program("mount"), "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run([_program("umount"), "-l", str(folder)], check=True)


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"there is no {name}"
    return found


def at_port(url: str, port: int) -> str:
    """The same address with another port."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))
