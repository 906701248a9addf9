"""Voices as a model has heard them: recordings from a folder, and what a model keeps in mind of a prompt with one.

A prompt begins with the voice. What a transformer computes for that part, its keys and values, is computed once and
put before every text, so that a piece costs its own text only. It must not know which model it is.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxqueue.audio import decode
from voxqueue.errors import EngineUnusable, VoxqueueError
from voxqueue.stages import Samples

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache

RECORDINGS = (".wav", ".flac", ".mp3", ".ogg")
LONGEST_S = 30.0
"""More of a voice makes every text slower to say, and none more like it."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of a prompt as a model keeps it in mind: keys and values of each layer, ``[1, heads, n, size]``."""

    layers: "tuple[tuple[torch.Tensor, torch.Tensor], ...]"

    def __len__(self) -> int:
        return self.layers[0][0].shape[2]


def prefix_of(cache: Any) -> Prefix:
    """What a forward pass over one row has left in its cache."""
    return Prefix(tuple((layer.keys, layer.values) for layer in cache.layers))


def stack(prefixes: Sequence[Prefix]) -> "tuple[DynamicCache, torch.Tensor]":
    """One cache for a batch, and the mask of what counts in it, shape ``[rows, longest]``; padded on the left."""
    import torch
    from torch.nn.functional import pad
    from transformers import DynamicCache

    longest = max(map(len, prefixes))
    layers = [
        tuple(
            torch.cat([pad(prefix.layers[layer][side], (0, 0, longest - len(prefix), 0)) for prefix in prefixes])
            for side in (0, 1)
        )
        for layer in range(len(prefixes[0].layers))
    ]
    mask = torch.tensor([[0] * (longest - len(prefix)) + [1] * len(prefix) for prefix in prefixes])
    return DynamicCache(layers), mask.to(layers[0][0].device)


def require_voice(asked: str | None, voices: Collection[str], model: str, settings: str) -> str:
    """The voice where none is asked for: the one that the settings name, else the first.

    Args:
        settings: What the variables begin with, for messages.

    Raises:
        EngineUnusable: There are no voices, or none of this name.
    """
    if not voices:
        raise EngineUnusable(
            f"{model} has no voices: put a recording of up to {LONGEST_S:.0f} s into a folder, and name the folder in "
            f"{settings}_VOICES_DIR."
        )
    if asked is None:
        return next(iter(voices))
    if asked.lower() not in voices:
        known = ", ".join(list(voices)[:10])
        raise EngineUnusable(f"{settings}_VOICE asks for {asked!r}, and {model} has {known}.")
    return asked.lower()


def read_recordings(folder: Path | None, setting: str, sample_rate: int) -> dict[str, Samples]:
    """The recordings of a folder by their names without the ending, in small letters; none where there is no folder.

    Args:
        setting: The variable that names the folder, for messages.
        sample_rate: Samples per second of what is returned, mono float32, shape ``[n]``.

    Raises:
        EngineUnusable: There is no such folder, or a recording in it that cannot be used.
    """
    if folder is None:
        return {}
    folder = folder.expanduser()
    if not folder.is_dir():
        raise EngineUnusable(f"There is no folder {folder}, which {setting} names.")
    found: dict[str, Samples] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in RECORDINGS:
            continue
        name = file.stem.lower()
        if name in found:
            raise EngineUnusable(f"Two recordings in {folder} are called {name}: rename one of them.")
        try:
            found[name] = decode(file.read_bytes(), max_seconds=LONGEST_S, sample_rate=sample_rate)
        except (VoxqueueError, OSError) as error:
            raise EngineUnusable(f"{file} cannot be used as a voice: {error}") from error
    return found
