"""What workers are called: an operator picks the right one out of twenty by its name."""

import os
import socket

import pytest

from voxqueue import machine
from voxqueue.fleet.reports import Gpu
from voxqueue.settings import ModelsSettings, Settings
from voxqueue.stages import Stage
from workers.naming import node_name, worker_name

pytestmark = pytest.mark.unit

CARD = Gpu(name="NVIDIA H200", memory=1, memory_used=0)


@pytest.mark.parametrize(
    ("visible", "device"),
    [
        (None, "cuda0"),
        ("0", "cuda0"),
        ("3", "cuda3"),
        ("2,3", "cuda2"),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "cuda-GPU-8932f937"),
        ("MIG-7bf1a6c3-0f2d-5e6e-a4d5-0c8c7d8a3e3f", "cuda-MIG-7bf1a6c3"),
        ("", "cpu"),
        ("-1", "cpu"),
    ],
)
def test_a_worker_is_called_after_the_card_that_it_may_use(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, device: str
) -> None:
    """Else four workers on one machine with four cards could not be told apart."""
    monkeypatch.setattr(machine, "gpus", lambda: [CARD])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert worker_name([Stage.STT, Stage.TTS], Settings()) == f"stt+tts-{device}"


def test_a_worker_does_not_boast_of_a_card_that_it_will_not_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: [CARD])
    assert worker_name([Stage.STT], Settings(models=ModelsSettings(device="cpu"))) == "stt-cpu"
    assert worker_name([Stage.STT], Settings(engines="fake")) == "stt-cpu"
    monkeypatch.setattr(machine, "gpus", list)
    assert worker_name([Stage.STT], Settings()) == "stt-cpu"


def test_two_workers_of_one_name_are_told_apart_but_a_whole_name_is_kept() -> None:
    assert node_name("stt-cpu") == f"stt-cpu-{os.getpid()}@{socket.gethostname()}"
    assert node_name("mine@here") == "mine@here"
