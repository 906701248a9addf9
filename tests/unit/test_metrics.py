"""Where numbers come from: what a model call had to do, what GPUs tell, and who is counted at all."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from prometheus_client import REGISTRY, make_wsgi_app

from api.questions import Question
from voxqueue.metrics.exposition import Exposition
from voxqueue.metrics.gpu import GpuCollector
from voxqueue.settings import Settings, StageSettings
from voxqueue.stages import LlmRequest
from workers.batching import Batcher, Call
from workers.engines.llm.fake import FakeLlmEngine
from workers.serving import Served

pytestmark = pytest.mark.unit


def shown(collector: Any) -> dict[tuple[str, str], float]:
    """By name and GPU."""
    samples = [sample for family in collector.collect() for sample in family.samples]
    return {(sample.name, sample.labels["gpu"]): sample.value for sample in samples}


# --- model calls ------------------------------------------------------------------------------------------------------


def test_a_call_tells_how_much_of_it_is_padding() -> None:
    """A batch is as expensive as its longest request times its number."""
    calls: list[Call] = []
    batcher: Batcher[float, float] = Batcher(
        "owner", list, cost=float, max_count=4, deadline_s=10, on_call=calls.append
    )
    batcher.hold(3)
    batcher.ask_together([1.0, 2.0, 4.0])
    batcher.ask(0.0)
    batcher.stop(wait_s=5)
    assert [(call.size, call.cost, call.padded_cost) for call in calls] == [(3, 7.0, 12.0), (1, 0.0, 0.0)]
    assert [call.padding for call in calls] == [pytest.approx(5 / 12), 0.0]


def test_warming_up_and_proving_are_not_counted_as_work() -> None:
    """A worker at rest would else show the batches of its own rehearsals."""

    def counted() -> float:
        labels = {"stage": "llm", "engine": "fake"}
        return REGISTRY.get_sample_value("voxqueue_batch_size_sum", labels) or 0.0

    engine = FakeLlmEngine(Settings())
    engine.load()
    served = Served(engine, StageSettings(max_batch=4))
    try:
        before = counted()
        served.infer_together([engine.warmup_request(longest=False)] * 3)
        served.prove()
        assert counted() == before
        served.ask(LlmRequest(text="hello"))
        assert counted() == before + 1
    finally:
        served.stop(wait_s=5)


# --- GPUs -------------------------------------------------------------------------------------------------------------


class Driver:
    """Two GPUs, as NVIDIA's library tells of them; the second tells only its memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_away = False
        for name in ("Init", "DeviceGetCount", "DeviceGetHandleByIndex"):
            monkeypatch.setattr(pynvml, f"nvml{name}", getattr(self, name))
        monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", self.utilization)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", self.memory)

    def Init(self) -> None: ...  # noqa: N802 - as the library calls it

    def DeviceGetCount(self) -> int:  # noqa: N802
        if self.is_away:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return 2

    def DeviceGetHandleByIndex(self, number: int) -> int:  # noqa: N802
        return number

    def utilization(self, gpu: int) -> SimpleNamespace:
        if gpu:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(gpu=37)

    def memory(self, gpu: int) -> SimpleNamespace:
        return SimpleNamespace(used=2**30 * (gpu + 1), total=2**34)


def test_each_gpu_is_shown_with_what_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(monkeypatch)
    assert shown(GpuCollector()) == {
        ("voxqueue_gpu_utilization_percent", "0"): 37,
        ("tts_gpu_utilization_percent", "0"): 37,
        ("voxqueue_gpu_memory_used_bytes", "0"): 2**30,
        ("voxqueue_gpu_memory_used_bytes", "1"): 2**31,
        ("voxqueue_gpu_memory_total_bytes", "0"): 2**34,
        ("voxqueue_gpu_memory_total_bytes", "1"): 2**34,
    }


def test_a_driver_that_fails_shows_nothing_rather_than_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch)
    collector = GpuCollector()
    driver.is_away = True
    assert shown(collector) == {}


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    found = shown(GpuCollector())
    assert {gpu for _, gpu in found} == {"none"}
    assert set(found.values()) == {0}


# --- the page ---------------------------------------------------------------------------------------------------------


def test_a_collector_is_shown_only_while_it_is_wanted() -> None:
    """Two apps in one process must not show each other's."""
    exposition = Exposition()
    with exposition.showing(GpuCollector()):
        assert b"voxqueue_gpu_memory_used_bytes" in exposition.render("")[0]
    assert b"voxqueue_gpu_memory_used_bytes" not in exposition.render("")[0]
    assert b"_created" not in exposition.render("")[0]


def test_metrics_can_be_asked_for_by_their_names() -> None:
    """Prometheus' own way to fetch less, which the library's server leaves to us; it ended in a traceback."""
    said: list[str] = []
    query = "name[]=voxqueue_gpu_memory_used_bytes"
    asked = {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics", "QUERY_STRING": query}
    answer = make_wsgi_app(Exposition(GpuCollector()))(asked, lambda status, headers: said.append(status))
    page = b"".join(answer)
    assert said == ["200 OK"]
    assert b"voxqueue_gpu_memory_used_bytes{" in page
    assert b"voxqueue_build" not in page


def test_what_hangs_is_waited_for_all_at_once() -> None:
    """Prometheus gives up after ten seconds, and four that hang one after the other would take longer."""
    go_on = threading.Event()
    with ThreadPoolExecutor(4) as background, ExitStack() as at_the_end:
        at_the_end.callback(go_on.set)
        began = time.monotonic()
        first, *others = [Question(go_on.wait, background, 0.5).ask() for _ in range(4)]
        assert first() is None
        waited = time.monotonic() - began
        assert [answer() for answer in others] == [None, None, None]
        assert time.monotonic() - began < 2 * waited
