"""Where models on torch run and how precisely they compute there. Knows settings and torch, no engine."""

from typing import TYPE_CHECKING

from voxqueue.errors import EngineUnusable
from voxqueue.extras import require
from voxqueue.settings import ModelsSettings

if TYPE_CHECKING:
    import torch


def pick_device(settings: ModelsSettings) -> str:
    """The device to load onto: ``cuda:0``, ``mps`` or ``cpu``.

    Raises:
        EngineUnusable: torch is not installed, or the device that the settings ask for is not here.
    """
    require("torch", "models")
    import torch

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device: str = settings.device
    if device == "auto":
        device = next(name for name, is_here in here.items() if is_here)
    if not here[device]:
        lacking = {
            "cuda": f"a driver for CUDA {torch.version.cuda}" if torch.version.cuda else "a CUDA build of torch",
            "mps": "torch for Apple silicon",
        }[device]
        raise EngineUnusable(
            f"torch finds no {device} device here: set VOXQUEUE_MODELS_DEVICE=cpu or install {lacking}."
        )
    return "cuda:0" if device == "cuda" else device


def pick_dtype(settings: ModelsSettings, device: str) -> "torch.dtype":
    """The precision for a device as `pick_device` names it.

    Raises:
        EngineUnusable: torch is not installed, or the settings ask for int8.
    """
    require("torch", "models")
    import torch

    half = torch.float16
    if device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False):
        half = torch.bfloat16
    match settings.dtype:
        case "auto":
            return torch.float32 if device == "cpu" else half
        case "int8":
            raise EngineUnusable("Only faster_whisper computes in int8: set VOXQUEUE_MODELS_DTYPE=auto.")
        case named:
            dtype: torch.dtype = getattr(torch, named)
            return dtype


def free_cache(device: str) -> None:
    """Give what torch holds back for itself to the device, after something large was let go."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()
