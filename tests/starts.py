"""Starts of workers as they are kept, for tests of what is made of them."""

from typing import Any

from voxqueue.fleet.models import StageWarmup
from voxqueue.stages import Stage


def warmed(**given: Any) -> StageWarmup:
    """One stage of one start, like all others but for what is given."""
    start: dict[str, Any] = {
        "worker": "w@test",
        "host_class": "test, 2 x core",
        "stage": Stage.STT,
        "engine": "fake",
        "model": "fake",
        "device": "cpu",
        "load_ms": 1000.0,
        "warmup_ms": 500.0,
    }
    return StageWarmup(**(start | given))
