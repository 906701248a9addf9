"""The machine that this process runs on: its memory, its GPUs, and what is installed. Imports no model runtime."""

import os
import platform
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import pynvml

from voxqueue.fleet.reports import Gpu, MachineReport

_PACKAGES = (
    *("voxqueue", "celery", "kombu", "redis", "sqlalchemy", "psycopg", "fastapi", "uvicorn", "pydantic", "av"),
    *("torch", "transformers", "ctranslate2", "faster-whisper", "pocketsphinx", "ollama", "openai"),
)


def look() -> MachineReport:
    """How this machine and this process stand now. Memory in bytes."""
    memory = psutil.virtual_memory()
    found = gpus()
    cpu, own = _cpu(), cores()
    return MachineReport(
        host_class=host_class(platform.machine(), cpu, own, [gpu.name for gpu in found]),
        cpu=cpu,
        cores=own,
        memory=memory.total,
        memory_available=memory.available,
        process_memory=psutil.Process().memory_info().rss,
        gpus=found,
    )


def host_class(architecture: str, cpu: str, cores: int, gpu_names: Iterable[str]) -> str:
    """A name that machines share on which models load about as fast: ``x86_64, 16 x AMD EPYC 9454, NVIDIA H200``."""
    gpus = [f"{number} x {name}" if number > 1 else name for name, number in sorted(Counter(gpu_names).items())]
    return ", ".join([architecture, f"{cores} x {cpu}", *gpus])


def gpus() -> list[Gpu]:
    """The GPUs that Nvidia's driver knows; none where there is no driver."""
    try:
        return [_gpu(number) for number in range(pynvml.nvmlDeviceGetCount())] if _has_driver() else []
    except pynvml.NVMLError:  # a card that has fallen off the bus must not take the worker along
        return []


def _gpu(number: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:  # one that shares its memory with the processor does not tell
        return Gpu(name=pynvml.nvmlDeviceGetName(handle))
    return Gpu(name=pynvml.nvmlDeviceGetName(handle), memory=int(memory.total), memory_used=int(memory.used))


@cache
def _has_driver() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True


@cache
def versions() -> dict[str, str]:
    """The versions of Python and of those of our packages that are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _cpu() -> str:
    """The processor's name where the system tells it, else its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
