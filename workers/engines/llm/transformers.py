"""The language model by transformers: a small instruct model in the worker's own process, many requests in one call."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from voxqueue.errors import EngineFailed, EngineRefused, EngineUnusable, VoxqueueError
from voxqueue.extras import require
from voxqueue.models import engine_models, provide
from voxqueue.settings import Settings
from workers.engines.device import free_cache, pick_device, pick_dtype
from workers.engines.llm.speaking import Prompt, SpeakingEngine, Written


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A model in memory. `room` is how many tokens a prompt may have, `ends` are the tokens that end a reply."""

    tokenizer: Any
    model: Any
    generation: Any
    room: int
    ends: tuple[int, ...]


class TransformersEngine(SpeakingEngine):
    """Writes greedily, so that a request gets the same reply whatever it shares its batch with."""

    name = "transformers"
    takes_all_cores = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._loaded: _Loaded | None = None

    def load(self) -> None:
        super().load()
        self.close()
        self.device = pick_device(self.settings.models)
        dtype = pick_dtype(self.settings.models, self.device)
        require("transformers", "models")
        [model] = engine_models(self.settings, self.name)
        folder = provide(model, self.settings.models, partial(self.on_progress, f"fetching {model.name}"))
        try:
            self._loaded = _load(folder, self.device, dtype, self.settings.llm.reply_tokens)
        except Exception as error:
            detail = f"{model.name} cannot be used: {type(error).__name__}: {error}"[:300]
            raise EngineUnusable(f"{detail} Name another model in VOXQUEUE_TRANSFORMERS_MODEL.") from None
        self.model, self.dtype = model.repo or folder.name, str(dtype).removeprefix("torch.")

    def run(self, batch: Sequence[Prompt]) -> Sequence[Written | VoxqueueError]:
        loaded = self._loaded
        if loaded is None:
            raise EngineFailed("transformers was called before it was loaded.")
        if not batch:
            return []
        rows = _tokenize(loaded.tokenizer, batch)
        written = iter(self._write(loaded, [row for row in rows if len(row) <= loaded.room]))
        return [next(written) if len(row) <= loaded.room else self._too_long(row, loaded.room) for row in rows]

    def free_memory(self) -> None:
        free_cache(self.device)

    def close(self) -> None:
        if self._loaded is not None:
            self._loaded = None
            self.free_memory()

    def _write(self, loaded: _Loaded, rows: list[list[int]]) -> list[Written]:
        """The replies to prompts of any length, shape ``[tokens]`` each."""
        import torch

        if not rows:
            return []
        longest, pad = max(map(len, rows)), loaded.generation.pad_token_id
        # Padded on the left: a reply goes on where its prompt ends.
        tokens = [[pad] * (longest - len(row)) + row for row in rows]
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        with torch.inference_mode():
            output = loaded.model.generate(
                torch.tensor(tokens, device=self.device),
                attention_mask=torch.tensor(mask, device=self.device),
                generation_config=loaded.generation,
            )
        replies = output[:, longest:].tolist()
        texts = loaded.tokenizer.batch_decode(replies, skip_special_tokens=True)
        return [
            Written(text, cut=not set(loaded.ends).intersection(reply))
            for text, reply in zip(texts, replies, strict=True)
        ]

    def _too_long(self, row: list[int], room: int) -> EngineRefused:
        return EngineRefused(
            f"The message and its instructions are {len(row)} tokens long, and {self.model} reads {room} at most. "
            "Shorten them, or name a model with a longer context."
        )


def _load(folder: Path, device: str, dtype: Any, reply_tokens: int) -> _Loaded:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]  # the worker's log is no terminal
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    _tokenize(tokenizer, [Prompt("Rules.", "A message.")])  # not every model has a template, or one with rules
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    model.to(device).eval()
    generation = copy.deepcopy(model.generation_config)
    ends = generation.eos_token_id if generation.eos_token_id is not None else tokenizer.eos_token_id
    ends = tuple(ends) if isinstance(ends, list) else (ends,)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    generation.update(do_sample=False, temperature=None, top_p=None, top_k=None, max_length=None)
    generation.update(max_new_tokens=reply_tokens, eos_token_id=list(ends), pad_token_id=pad)
    context = model.config.get_text_config().max_position_embeddings
    return _Loaded(tokenizer, model, generation, context - reply_tokens, ends)


def _tokenize(tokenizer: Any, batch: Sequence[Prompt]) -> list[list[int]]:
    rows: list[list[int]] = tokenizer.apply_chat_template(
        [prompt.messages for prompt in batch],
        add_generation_prompt=True,
        sanitize_control_tokens=True,  # else a message could end itself and go on as the rules
        enable_thinking=False,
        tokenizer_kwargs={"verbose": False},  # it would warn of prompts that are too long, which are refused
    )["input_ids"]
    return rows
