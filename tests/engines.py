"""Asks engines the way a worker does, so that tests go through splitting, batching and joining as jobs do."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from voxqueue.errors import VoxqueueError
from voxqueue.settings import StageSettings
from workers.engines.base import AnyEngine
from workers.serving import Answered, Served


def answered(engine: AnyEngine, requests: Sequence[Any], *, max_batch: int = 64) -> list[Answered | VoxqueueError]:
    """Each request's answer or error, in order; they share model calls as far as the engine allows."""
    if not requests:
        return []
    served = Served(engine, StageSettings(max_batch=max_batch, max_cost=1e9, deadline_s=120))

    def ask(request: Any) -> Answered | VoxqueueError:
        try:
            return served.ask(request)
        except VoxqueueError as error:
            return error
        finally:
            served.batcher.hold(0)  # whoever has ended brings nothing more into the first batch

    try:
        served.batcher.hold(min(len(requests), served.max_batch))
        with ThreadPoolExecutor(len(requests)) as threads:
            return list(threads.map(ask, requests))
    finally:
        served.stop(wait_s=10)


def results(engine: AnyEngine, requests: Sequence[Any], *, max_batch: int = 64) -> list[Any]:
    """Each request's result or error, in order."""
    return [
        answer if isinstance(answer, VoxqueueError) else answer.result
        for answer in answered(engine, requests, max_batch=max_batch)
    ]
