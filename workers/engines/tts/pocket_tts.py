"""Text to speech by PocketTTS on transformers: small enough for a CPU, with voices that come along or are cloned.

The model makes one latent per frame until it thinks that the sentence is over; its codec turns latents into samples.
"""

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voxqueue.errors import EngineFailed, VoxqueueError
from voxqueue.settings import Settings
from voxqueue.stages import Samples
from workers.engines.base import Voice
from workers.engines.device import pick_device, pick_dtype
from workers.engines.tts.speaking import Piece, SpeakingEngine, Spoken, known_language, loading, without_marks
from workers.engines.tts.voice_prompts import Prefix, prefix_of, read_recordings, require_voice, stack

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_KEY_OR_VALUE = re.compile(r"(?P<layer>\d+).*(?P<side>key|value)|(?P<side_>key|value)\D*(?P<layer_>\d+)")


@dataclass(frozen=True, slots=True)
class _Loaded:
    model: Any
    processor: Any
    voices: dict[str, Prefix]


class PocketTtsEngine(SpeakingEngine):
    """PocketTTS in one language. It says the same every time: the noise that it could start from is left out."""

    name = "pocket_tts"
    longest = 160  # its makers cut texts at 50 tokens

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._loaded: _Loaded | None = None

    def load(self) -> None:
        self.close()
        folder, codec = self._folders()  # first: a model that is missing is no reason to wait for torch
        self.device = pick_device(self.settings.models)
        dtype = pick_dtype(self.settings.models, self.device)
        own = self.settings.pocket
        with loading(f"{own.model} with {own.codec}", "VOXQUEUE_POCKET_MODEL and VOXQUEUE_POCKET_CODEC"):
            model, processor = _open(folder, codec, self.device, dtype)
            self.sample_rate = processor.feature_extractor.sampling_rate
            recordings = read_recordings(own.voices_dir, "VOXQUEUE_POCKET_VOICES_DIR", self.sample_rate)
            voices = _shipped_voices(model, processor, folder / "voices")
            voices |= {name: _hear(model, processor, samples) for name, samples in recordings.items()}
        self.default_voice = require_voice(own.voice, voices, own.model, "VOXQUEUE_POCKET")
        self.languages = tuple(known_language(tag, "VOXQUEUE_POCKET_LANGUAGES") for tag in own.languages)
        self.model, self.dtype = own.model, str(dtype).removeprefix("torch.")
        self._loaded = _Loaded(model, processor, voices)

    def close(self) -> None:
        if self._loaded is not None:
            self._loaded = None
            self.free_memory()

    def voices(self) -> Sequence[Voice]:
        language = self.languages[0] if len(self.languages) == 1 else None
        return [Voice(name, language) for name in (self._loaded.voices if self._loaded else ())]

    def speak(self, pieces: Sequence[Piece]) -> Sequence[Spoken | VoxqueueError]:
        import torch

        loaded = self._loaded
        if loaded is None:
            raise EngineFailed("pocket_tts was called before it was loaded.")
        texts = [without_marks(piece.text, loaded.processor.tokenizer.all_special_tokens) for piece in pieces]
        prompts = _prompts(loaded.processor, texts).to(self.device)
        cache, heard = stack([loaded.voices[piece.voice] for piece in pieces])
        budgets = self._budgets(loaded, prompts["attention_mask"])
        with torch.inference_mode():
            output = loaded.model.generate(
                input_ids=prompts["input_ids"],
                attention_mask=torch.cat([heard, prompts["attention_mask"]], dim=1),
                past_key_values=cache,
                frames_after_eos=prompts["frames_after_eos"],
                max_new_tokens=max(budgets),
                do_sample=False,
                return_dict_in_generate=True,
            )
            frames = output.audio_latents_mask.sum(1).tolist()
            # A short piece that comes to no end runs on as long as the longest one of its batch may.
            kept = [min(made, budget) for made, budget in zip(frames, budgets, strict=True)]
            latents = output.audio_latents[:, : max(kept)]
            mask = torch.arange(max(kept)) < torch.tensor(kept)[:, None]
            waveforms = loaded.processor.decode(latents, mask)
        return [
            Spoken(np.clip(waveform.numpy(), -1, 1), cut=made >= budget)
            for waveform, made, budget in zip(waveforms, frames, budgets, strict=True)
        ]

    def _budgets(self, loaded: _Loaded, mask: "torch.Tensor") -> list[int]:
        """Most frames for each piece: what the model's makers allow, about twice what speech takes."""
        tokens = (mask.sum(1) - 1).tolist()  # the last one is where the speech begins
        return [math.ceil((count / 3 + 2) * loaded.model.config.frame_rate) for count in tokens]


def _open(folder: Path, codec: Path, device: str, dtype: "torch.dtype") -> tuple[Any, Any]:
    """The model and its processor, which has the codec."""
    import torch

    transformers: Any = import_module("transformers")  # too sparsely typed to be checked
    transformers.utils.logging.disable_progress_bar()  # the worker's log is no terminal
    here: dict[str, Any] = {"local_files_only": True}
    model = transformers.PocketTTSForConditionalGeneration.from_pretrained(folder, dtype=dtype, **here)
    # Its output is the waveform itself: half precision would be heard as noise.
    tokenizer_of_audio = transformers.PocketTTSAudioTokenizerModel.from_pretrained(codec, dtype=torch.float32, **here)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left", **here)
    # `PocketTTSProcessor.from_pretrained` would look for the codec where whoever saved the model had it.
    config = json.loads((folder / "processor_config.json").read_text("utf-8"))
    options = {name: config[name] for name in _PROCESSOR_OPTIONS if name in config}
    processor = transformers.PocketTTSProcessor(
        transformers.PocketTTSFeatureExtractor.from_pretrained(folder, **here),
        tokenizer,
        audio_tokenizer=tokenizer_of_audio.to(device).eval(),
        chat_template=tokenizer.chat_template,
        **options,
    )
    return model.to(device).eval(), processor


_PROCESSOR_OPTIONS = ("short_text_max_words", "frames_after_eos_short_text", "frames_after_eos", "fade_in_duration")


def _prompts(processor: Any, texts: Sequence[str]) -> Any:
    """The texts as prompts without a voice, padded on the left to ``[rows, tokens]``."""
    conversations = [[{"role": "user", "content": [{"type": "text", "text": text}]}] for text in texts]
    return processor.apply_chat_template(
        conversations,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"text_kwargs": {"padding": True}},
    )


def _hear(model: Any, processor: Any, samples: Samples) -> Prefix:
    """A voice from a recording at the model's rate."""
    import torch

    codec = processor.audio_tokenizer
    audio = processor.feature_extractor([samples], sampling_rate=processor.feature_extractor.sampling_rate)
    audio = audio.to(codec.device)
    with torch.inference_mode():
        encoded = codec.encode(audio["input_values"].to(codec.dtype), audio["padding_mask"])
    return _prefix(model, processor, encoded.latents[0][encoded.latents_mask[0].bool()])


def _prefix(model: Any, processor: Any, latents: "torch.Tensor") -> Prefix:
    """What the model keeps in mind of a voice, given as latents of the codec, shape ``[frames, size]``."""
    import torch

    begin = [] if processor.audio_prompt_bos_token is None else [model.config.audio_prompt_bos_token_id]
    tokens = torch.tensor([[*begin, *[model.config.audio_prompt_token_id] * len(latents)]], device=model.device)
    with torch.inference_mode():
        output = model.model(input_ids=tokens, audio_prompt_latents=latents[None].to(model.device), use_cache=True)
    return prefix_of(output.past_key_values)


def _shipped_voices(model: Any, processor: Any, folder: Path) -> dict[str, Prefix]:
    """The voices that came with the model, by the names of their files."""
    from safetensors.torch import load_file

    voices = {}
    for file in sorted(folder.rglob("*.safetensors")):
        tensors = load_file(file, device=str(model.device))
        latents = next(iter(tensors.values())).squeeze(0)
        if len(tensors) == 1 and latents.ndim == 2 and latents.shape[1] == model.config.latent_dim:
            voices[file.stem.lower()] = _prefix(model, processor, latents)
        elif prefix := _saved_prefix(model, tensors):
            voices[file.stem.lower()] = prefix
        else:
            log.warning("%s is no voice that pocket_tts can read: it holds %s", file, ", ".join(sorted(tensors))[:200])
    return voices


def _saved_prefix(model: Any, tensors: "Mapping[str, torch.Tensor]") -> Prefix | None:
    """A voice that was saved as keys and values, whatever they are called; None if this is something else."""
    sides: dict[tuple[int, str], torch.Tensor] = {}
    for name, tensor in tensors.items():
        if found := _KEY_OR_VALUE.search(name):
            layer, side = found["layer"] or found["layer_"], found["side"] or found["side_"]
            sides[int(layer), side] = tensor.to(model.dtype).reshape(1, *tensor.shape[-3:])
    layers = range(model.config.num_hidden_layers)
    if sides.keys() != {(layer, side) for layer in layers for side in ("key", "value")}:
        return None
    return Prefix(tuple((sides[layer, "key"], sides[layer, "value"]) for layer in layers))
