"""What a worker is called in Flower, in the fleet and in logs. Asks the driver for GPUs; imports no model runtime."""

import os
import socket
from collections.abc import Sequence

from voxqueue import machine
from voxqueue.settings import Settings
from voxqueue.stages import Stage

_UUID_CHARS = 12  # `GPU-8932f937`: enough to tell the cards of one machine apart


def node_name(name: str) -> str:
    """Celery's form, unique for each process: two workers of one name would hide each other in the fleet."""
    return name if "@" in name else f"{name}-{os.getpid()}@{socket.gethostname()}"


def worker_name(stages: Sequence[Stage], settings: Settings) -> str:
    """The stages and the device that a worker may use, such as ``stt+llm-cuda0``.

    Which engine runs where is in the readiness report, once it is known: an engine can still fall back to the CPU.
    """
    return f"{'+'.join(stages)}-{_device(settings)}"


def _device(settings: Settings) -> str:
    if settings.engines == "fake":
        return "cpu"
    if settings.models.device in ("cpu", "mps"):
        return settings.models.device
    if not machine.gpus():
        return "cpu"
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()
    if first in ("", "-1"):  # so CUDA is told to see none
        return "cpu"
    return f"cuda{first}" if first.isdigit() else f"cuda-{first[:_UUID_CHARS]}"
