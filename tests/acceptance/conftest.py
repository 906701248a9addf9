"""The whole stack, as `voxqueue up` runs it, on free ports in a temporary folder."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.patience import until
from voxqueue.client import Client
from voxqueue.embedded import Stack, running_stack
from voxqueue.embedded.stack import ALL_STAGES

Start = Callable[..., AbstractContextManager[Stack]]

OWN_SERVERS = dict.fromkeys(
    ("VOXQUEUE_DATABASE_URL", "VOXQUEUE_REDIS_URL", "VOXQUEUE_S3_BUCKET", "VOXQUEUE_STORAGE_DIR"), ""
)


@contextmanager
def start(
    env: Mapping[str, str] | None = None,
    *,
    workers: Sequence[Sequence[str]] = (ALL_STAGES,),
    flower_port: int | None = None,
    ready_s: float | None = 60,
) -> Iterator[Stack]:
    """Run a stack; when the test fails, its log is what pytest shows."""
    with TemporaryDirectory(prefix="voxqueue-test-") as folder:
        try:
            with running_stack(
                Path(folder),
                env={**OWN_SERVERS, **(env or {})},
                workers=workers,
                flower_port=flower_port,
                ready_s=ready_s,
                durable=False,
            ) as stack:
                yield stack
        except BaseException:
            print((Path(folder) / "stack.log").read_text()[-8000:])
            raise


@contextmanager
def answering(env: Mapping[str, str], workers: Sequence[Sequence[str]] = ()) -> Iterator[Stack]:
    """A stack whose API answers, and whose workers, if any, are on their way."""
    with start(env, workers=workers, ready_s=None) as stack:
        until(lambda: stack.readiness()[1], 60)
        yield stack


@contextmanager
def worker_of(
    stack: Stack, command: Sequence[str] = ("-m", "voxqueue", *ALL_STAGES)
) -> Iterator[subprocess.Popen[bytes]]:
    """One more worker, which nobody starts anew; killed when the block ends. `command` is for Python."""
    with subprocess.Popen([sys.executable, *command], env={**os.environ, **stack.env}) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def start_stack() -> Start:
    """Starts a stack with the given environment and workers; a context manager."""
    return start


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    """A client of the module's stack."""
    with Client(stack.api_url, timeout=30) as client:
        yield client
