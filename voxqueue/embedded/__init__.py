"""Postgres, Redis, API, workers and Flower from one command, nothing installed.

The servers are the real ones, from wheels. Every process is a child of ours that dies with us, even by ``kill -9``.
"""

from voxqueue.embedded.postgres import embedded_postgres
from voxqueue.embedded.redis import embedded_redis
from voxqueue.embedded.stack import Stack, running_stack
from voxqueue.embedded.terminal import run_stack

__all__ = ["Stack", "embedded_postgres", "embedded_redis", "run_stack", "running_stack"]
