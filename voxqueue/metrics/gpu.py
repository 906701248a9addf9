"""Looks at the GPUs of this machine through NVIDIA's driver, whoever uses them. Without a driver it says ``none``.

Imports no model runtime: a worker may ask before its engines are loaded.
"""

from collections.abc import Iterator
from contextlib import suppress

import pynvml
from prometheus_client.metrics_core import GaugeMetricFamily, Metric


class GpuCollector:
    """How busy every GPU that the driver shows is, and how full its memory, by its number there."""

    def __init__(self) -> None:
        self._has_driver = False
        with suppress(pynvml.NVMLError):  # there is no driver, or it is of no use
            pynvml.nvmlInit()
            self._has_driver = pynvml.nvmlDeviceGetCount() > 0

    def collect(self) -> Iterator[Metric]:
        busy = GaugeMetricFamily("voxqueue_gpu_utilization_percent", "How busy a GPU is", labels=("gpu",))
        of_tts = GaugeMetricFamily("tts_gpu_utilization_percent", "How busy a GPU is", labels=("gpu",))
        used = GaugeMetricFamily("voxqueue_gpu_memory_used_bytes", "Memory of a GPU that is in use", labels=("gpu",))
        total = GaugeMetricFamily("voxqueue_gpu_memory_total_bytes", "Memory that a GPU has", labels=("gpu",))
        if not self._has_driver:
            for family in (busy, of_tts, used, total):
                family.add_metric(("none",), 0)
        with suppress(pynvml.NVMLError):  # a driver that has gone tells nothing, rather than zeros
            for number in range(pynvml.nvmlDeviceGetCount() if self._has_driver else 0):
                gpu, label = pynvml.nvmlDeviceGetHandleByIndex(number), (str(number),)
                with suppress(pynvml.NVMLError):  # a part of a GPU (MIG) does not tell
                    percent = pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu
                    busy.add_metric(label, percent)
                    of_tts.add_metric(label, percent)
                with suppress(pynvml.NVMLError):  # nor does one that shares its memory with the processor
                    memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
                    used.add_metric(label, memory.used)
                    total.add_metric(label, memory.total)
        yield from (busy, of_tts, used, total)
