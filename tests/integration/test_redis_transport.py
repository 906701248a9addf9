"""Whether a Celery worker outlives its Redis: kombu's own transport does not, and ours does.

When the first of these tests fails, kombu has been mended, and `Channel.close` in our transport can go.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis

from tests.patience import until
from voxqueue.embedded.processes import launch, running
from voxqueue.embedded.redis import prepared_redis

pytestmark = pytest.mark.integration

_WORKER = """
import sys, time
from celery import Celery
if sys.argv[2] == "ours":
    from voxqueue import redis_transport
    redis_transport.install()
app = Celery("test", broker=sys.argv[1])
app.conf.update(task_acks_late=True, task_ignore_result=True, worker_prefetch_multiplier=1,
    broker_connection_max_retries=None, broker_transport_options={"socket_connect_timeout": 1})
@app.task(name="hold")
def hold(path, seconds):
    open(path, "w").close()
    time.sleep(seconds)
app.Worker(pool="threads", concurrency=2, without_gossip=True, without_mingle=True, quiet=True).start()
"""


def survives(transport: str) -> bool:
    """Whether a worker with unacknowledged messages still takes tasks after its Redis was killed and came back."""
    with (
        TemporaryDirectory(prefix="voxqueue-test-") as name,
        prepared_redis(Path(name, "redis"), durable=False) as server,
    ):
        began, resumed = Path(name, "began"), Path(name, "resumed")
        with running(server) as process:
            worker = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", _WORKER, server.url, transport],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                _send(server.url, began, 2.0)
                until(began.exists)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                second = launch(server.child)
                try:
                    until(server.answers)
                    give_up = time.monotonic() + 15
                    while worker.poll() is None and not resumed.exists() and time.monotonic() < give_up:
                        if not redis.Redis.from_url(server.url).llen("celery"):
                            _send(server.url, resumed, 0)
                        time.sleep(0.5)
                    return resumed.exists() and worker.poll() is None
                finally:
                    second.kill()
                    second.wait()
            finally:
                worker.kill()
                worker.wait()


def _send(url: str, path: Path, seconds: float) -> None:
    from celery import Celery

    with Celery("sender", broker=url, set_as_current=False) as app:
        app.send_task("hold", args=(str(path), seconds))


def test_kombus_own_transport_still_needs_the_repair() -> None:
    assert not survives("kombu")


def test_ours_survives_a_redis_that_goes_away() -> None:
    assert survives("ours")
