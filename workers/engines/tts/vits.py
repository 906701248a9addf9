"""Text to speech by VITS on transformers: a small model per language, such as Meta's MMS has for a thousand of them.

One call takes pieces of one language and one speaker. The model's two kinds of noise are left out, so that it says the
same every time.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voxqueue.errors import EngineFailed, EngineUnusable, VoxqueueError
from voxqueue.settings import Settings
from voxqueue.stages import Samples, TtsRequest
from workers.engines.base import Voice
from workers.engines.device import pick_device
from workers.engines.tts.speaking import Piece, SpeakingEngine, Spoken, known_language, loading

if TYPE_CHECKING:
    import torch

_SPEAKER = "speaker-"


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One language. `vocoder` is the model's own last part, taken out of it."""

    model: Any
    vocoder: "torch.nn.Module"
    tokenizer: Any

    @property
    def speakers(self) -> int:
        return max(1, int(self.model.config.num_speakers))


class VitsEngine(SpeakingEngine):
    """VITS and MMS models, one for each language."""

    name = "vits"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._loaded: dict[str, _Loaded] = {}

    def load(self) -> None:
        self.close()
        self.device = pick_device(self.settings.models)
        named = self.settings.vits.models
        loaded = {
            known_language(tag, "VOXQUEUE_VITS_MODELS"): _open(name, folder, self.device)
            for (tag, name), folder in zip(named.items(), self._folders(), strict=True)
        }
        rates = {one.model.config.sampling_rate for one in loaded.values()}
        if len(rates) > 1:
            raise EngineUnusable(
                f"The models in VOXQUEUE_VITS_MODELS speak at {' and '.join(map(str, sorted(rates)))} samples per "
                "second: name models of one rate."
            )
        self.sample_rate = rates.pop()
        self.languages = tuple(loaded)
        # Its lengths are sums and counters of frames, and half precision counts to no more than 2,048 or 256.
        self.dtype = "float32"
        self.model = ", ".join(named.values())
        self._loaded = loaded

    def close(self) -> None:
        if self._loaded:
            self._loaded = {}
            self.free_memory()

    def voices(self) -> Sequence[Voice]:
        return [
            Voice(f"{_SPEAKER}{number}", language)
            for language, loaded in self._loaded.items()
            for number in range(loaded.speakers)
        ]

    def group(self, piece: Piece) -> Hashable:
        return piece.language, piece.voice

    def can_speak(self, text: str, language: str) -> bool:
        tokenizer = self._of(language).tokenizer
        prepared, _ = tokenizer.prepare_for_tokenization(text)
        return any(character.isalnum() and character in tokenizer.encoder for character in prepared)

    def warmup_request(self, longest: bool) -> TtsRequest:
        # Letters that the model knows: it may be one for a script of which nobody here knows a word.
        letters = [letter for letter in self._of(self.languages[0]).tokenizer.encoder if letter.isalpha()]
        word = "".join(letters[:4]) + " "
        return TtsRequest(text=(word * self.longest)[: self.longest if longest else 3 * len(word)].strip())

    def speak(self, pieces: Sequence[Piece]) -> Sequence[Spoken | VoxqueueError]:
        import torch

        loaded = self._of(pieces[0].language)
        speaker = int(pieces[0].voice.removeprefix(_SPEAKER)) if loaded.speakers > 1 else None
        inputs = loaded.tokenizer([piece.text for piece in pieces], padding=True, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            output = loaded.model(**inputs, speaker_id=speaker)
            hop = int(np.prod(loaded.model.config.upsample_rates))
            frames = [length // hop for length in output.sequence_lengths.tolist()]
            return [
                Spoken(_waveform(loaded, spectrogram[:, :length], speaker))
                for spectrogram, length in zip(output.spectrogram, frames, strict=True)
            ]

    def _of(self, language: str) -> _Loaded:
        loaded = self._loaded.get(language)
        if loaded is None:
            raise EngineFailed(f"vits has no model for {language!r} loaded.")
        return loaded


def _open(name: str, folder: Path, device: str) -> _Loaded:
    import torch

    class NoVocoder(torch.nn.Module):
        """Stands where the vocoder stood: what it makes of a padded spectrogram is wrong at the end, and costs most."""

        def forward(self, spectrogram: Any, _speaker: Any) -> Any:
            return spectrogram

    transformers: Any = import_module("transformers")  # too sparsely typed to be checked
    transformers.utils.logging.disable_progress_bar()  # the worker's log is no terminal
    with loading(name, "VOXQUEUE_VITS_MODELS"):
        tokenizer = transformers.VitsTokenizer.from_pretrained(folder, local_files_only=True)
        model = transformers.VitsModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        model.to(device).eval()
    for needed, package in ((tokenizer.phonemize, "phonemizer"), (tokenizer.is_uroman, "uroman")):
        if needed and find_spec(package) is None:
            raise EngineUnusable(f"{name} reads text through {package}: pip install {package}.")
    model.noise_scale = model.noise_scale_duration = 0.0
    vocoder, model.decoder = model.decoder, NoVocoder()
    return _Loaded(model, vocoder, tokenizer)


def _waveform(loaded: _Loaded, spectrogram: "torch.Tensor", speaker: int | None) -> Samples:
    """The samples of a spectrogram of shape ``[bins, frames]``, which holds no padding."""
    import torch

    embedding = None
    if speaker is not None:
        embedding = loaded.model.embed_speaker(torch.tensor([speaker], device=spectrogram.device)).unsqueeze(-1)
    waveform: Samples = loaded.vocoder(spectrogram[None], embedding)[0, 0].float().cpu().numpy()
    return np.clip(waveform, -1, 1)
