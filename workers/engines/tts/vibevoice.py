"""Text to speech by VibeVoice on transformers: a language model that says each frame by diffusion, in cloned voices.

Its frames start from noise. Here the noise of a frame is the same in every call and for every piece, so that a piece
sounds the same whatever it shares a call with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from voxqueue.errors import EngineFailed, EngineRefused, VoxqueueError
from voxqueue.extras import require
from voxqueue.settings import Settings
from voxqueue.stages import Samples
from workers.engines.base import Voice
from workers.engines.device import pick_device, pick_dtype
from workers.engines.tts.speaking import Piece, SpeakingEngine, Spoken, known_language, loading, without_marks
from workers.engines.tts.voice_prompts import Prefix, prefix_of, read_recordings, require_voice, stack

if TYPE_CHECKING:
    import torch

_SPEAKER = "0"  # as the model's prompts call the first of up to four


@dataclass(frozen=True, slots=True)
class _Loaded:
    model: Any
    processor: Any
    voices: dict[str, Prefix]

    @property
    def frames_per_s(self) -> float:
        return float(self.processor.feature_extractor.sampling_rate / self.model.config.audio_config.hop_length)


class VibevoiceEngine(SpeakingEngine):
    """VibeVoice 1.5B or 7B. It has no voices of its own: without one to clone, every sentence would have another."""

    name = "vibevoice"
    longest = 300

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._loaded: _Loaded | None = None

    def load(self) -> None:
        self.close()
        self.device = pick_device(self.settings.models)
        dtype = pick_dtype(self.settings.models, self.device)
        require("diffusers", "models")
        own = self.settings.vibevoice
        [folder] = self._folders()
        with loading(own.model, "VOXQUEUE_VIBEVOICE_MODEL"):
            model, processor = _open(folder, self.device, dtype)
            self.sample_rate = processor.feature_extractor.sampling_rate
            recordings = read_recordings(own.voices_dir, "VOXQUEUE_VIBEVOICE_VOICES_DIR", self.sample_rate)
            self.default_voice = require_voice(own.voice, recordings, own.model, "VOXQUEUE_VIBEVOICE")
            voices = {name: _hear(model, processor, samples) for name, samples in recordings.items()}
        self.languages = tuple(known_language(tag, "VOXQUEUE_VIBEVOICE_LANGUAGES") for tag in own.languages)
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
            raise EngineFailed("vibevoice was called before it was loaded.")
        tokenizer = loaded.processor.tokenizer
        texts = [without_marks(piece.text, tokenizer.all_special_tokens) for piece in pieces]
        ends = [_prompt(loaded.processor, text)[1] for text in texts]
        prompts = tokenizer(ends, padding=True, add_special_tokens=False, return_tensors="pt").to(self.device)
        cache, heard = stack([loaded.voices[piece.voice] for piece in pieces])
        mask = torch.cat([heard, prompts["attention_mask"]], dim=1)
        budgets = [self._budget(loaded, text) for text in texts]
        with torch.inference_mode():
            made = loaded.model.generate(
                input_ids=prompts["input_ids"],
                attention_mask=mask,
                # There may be padding between the voice and the text, where the model by itself would count on.
                position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                past_key_values=cache,
                noise_scheduler=_SteadyNoise(_scheduler(loaded.model.generation_config)),
                max_new_tokens=max(budgets),
                do_sample=False,
                return_dict_in_generate=False,
            )
        hop = loaded.model.config.audio_config.hop_length
        return [self._spoken(waveform, budget * hop) for waveform, budget in zip(made, budgets, strict=True)]

    def _budget(self, loaded: _Loaded, text: str) -> int:
        """Most frames for a piece: about twice what speech takes, which is some 3 or 4 tokens in a second."""
        tokens = len(loaded.processor.tokenizer(text, add_special_tokens=False)["input_ids"])
        return math.ceil((tokens / 2 + 3) * loaded.frames_per_s)

    def _spoken(self, waveform: "torch.Tensor | None", most: int) -> Spoken | VoxqueueError:
        if waveform is None:
            return EngineRefused("vibevoice found nothing to say in this text. Send whole words.")
        samples: Samples = waveform.flatten().float().cpu().numpy()
        return Spoken(np.clip(samples[:most], -1, 1), cut=len(samples) >= most)


class _SteadyNoise:
    """A noise schedule that begins every frame with noise of its own: the same for all rows, and in every call.

    The model draws noise for a whole batch at once, so that a row's would depend on how many there are. What it drew
    is replaced in a first step, which it does not know to be none.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._frame = 0
        self._begun = False
        self.timesteps: Any = scheduler.timesteps

    def set_timesteps(self, num_inference_steps: int) -> None:
        self._scheduler.set_timesteps(num_inference_steps=num_inference_steps)
        self.timesteps = [self._scheduler.timesteps[0], *self._scheduler.timesteps]
        self._frame += 1
        self._begun = False

    def step(self, output: "torch.Tensor", timestep: "torch.Tensor", sample: "torch.Tensor") -> Any:
        import torch

        if self._begun:
            return self._scheduler.step(output, timestep, sample)
        self._begun = True
        noise = torch.randn(sample.shape[1:], generator=torch.Generator().manual_seed(self._frame))
        return SimpleNamespace(prev_sample=noise.to(sample).expand_as(sample))


def _scheduler(config: Any) -> Any:
    """The noise schedule that the model's generation config asks for."""
    import diffusers

    scheduler = getattr(diffusers, getattr(config, "noise_scheduler_class", "DPMSolverMultistepScheduler"))
    usual = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
    return scheduler(**getattr(config, "noise_scheduler_config", usual))


def _open(folder: Path, device: str, dtype: "torch.dtype") -> tuple[Any, Any]:
    """The model and its processor."""
    transformers: Any = import_module("transformers")  # too sparsely typed to be checked
    transformers.utils.logging.disable_progress_bar()  # the worker's log is no terminal
    model = transformers.VibeVoiceForConditionalGeneration.from_pretrained(folder, dtype=dtype, local_files_only=True)
    processor = transformers.VibeVoiceProcessor.from_pretrained(folder, local_files_only=True)
    processor.tokenizer.padding_side = "left"  # speech goes on where the prompt ends
    return model.to(device).eval(), processor


def _prompt(processor: Any, text: str) -> tuple[str, str]:
    """A prompt in two halves: up to the end of the voice, and from there on. Between them no token is torn."""
    content = [{"type": "text", "text": text}, {"type": "audio", "audio": np.zeros(1, np.float32)}]
    prompt = processor.apply_chat_template([{"role": _SPEAKER, "content": content}], tokenize=False)
    before, end, after = prompt.rpartition(processor.audio_eos_token)
    return before + end, after


def _hear(model: Any, processor: Any, samples: Samples) -> Prefix:
    """A voice from a recording at the model's rate."""
    import torch

    rate = processor.feature_extractor.sampling_rate
    inputs = processor(
        text=[_prompt(processor, "")[0]],
        audio=[samples],
        text_kwargs={"add_special_tokens": False, "return_tensors": "pt"},
        audio_kwargs={"sampling_rate": rate},
    ).to(model.device)
    with torch.inference_mode():
        output = model.model(
            input_ids=inputs["input_ids"],
            input_values=inputs["input_values"].to(model.dtype),
            padding_mask=inputs["padding_mask"],
            sample=False,  # else a voice would be another after each start
            use_cache=True,
        )
    return prefix_of(output.past_key_values)
