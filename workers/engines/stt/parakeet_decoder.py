"""One model call of a Parakeet on transformers: windows of different notes in, the words heard in each out.

It is about arithmetic alone: where the windows come from and what becomes of the words is the engine's business.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxqueue.stages import SAMPLE_RATE, Samples
from workers.engines.stt.parakeet_text import Spoken, Token, spoken_word
from workers.engines.stt.windows import Clock

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[np.float32]

_CTC, _TDT = "parakeet_ctc", "parakeet_tdt"
_WORD_BEGINS = "▁"


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A window on its way through the model: log-mel ``[frames, n_mels]``, normalised, without padding."""

    features: Array
    clock: Clock


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of a piece."""

    clock: Clock
    spoken: tuple[Spoken, ...]


class ParakeetDecoder:
    """A loaded Parakeet. Many threads may call `features` at once, one at a time `hear`."""

    def __init__(self, folder: Path, device: str, dtype: "torch.dtype") -> None:
        """Load from a folder.

        Raises:
            ValueError: The folder holds some other kind of model.
            Exception: Whatever transformers raises for files that it cannot read.
        """
        kind = json.loads((folder / "config.json").read_bytes()).get("model_type")
        if kind not in (_CTC, _TDT):
            raise ValueError(f"it is of the type {kind}, where {_CTC} or {_TDT} is needed")
        from transformers import ParakeetForCTC, ParakeetForTDT, ParakeetProcessor
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]  # the worker's log is no terminal
        processor: Any = ParakeetProcessor.from_pretrained(folder, local_files_only=True)
        self._extractor: Any = processor.feature_extractor
        self._tokenizer: Any = processor.tokenizer
        self._not_text = {id_ for id_, token in self._tokenizer.added_tokens_decoder.items() if token.special}
        if self._extractor.sampling_rate != SAMPLE_RATE:
            raise ValueError(
                f"it hears {self._extractor.sampling_rate} samples per second, where we have {SAMPLE_RATE}"
            )
        form: Any = ParakeetForCTC if kind == _CTC else ParakeetForTDT
        model: Any = form.from_pretrained(folder, dtype=dtype, local_files_only=True)
        self._model = model.to(device).eval()
        self._hear_tokens = self._spell if kind == _CTC else self._transduce
        self._frame_s = self._extractor.hop_length * model.config.encoder_config.subsampling_factor / SAMPLE_RATE

    def features(self, samples: Samples) -> Array:
        """The spectrum of a window, ``[frames, n_mels]``. It takes a core some 30 ms, which no GPU should wait for."""
        found = self._extractor([samples], sampling_rate=SAMPLE_RATE, return_tensors="np")
        features: Array = found["input_features"][0][found["attention_mask"][0].astype(bool)].astype(np.float32)
        return features

    def hear(self, pieces: Sequence[Piece]) -> list[Heard]:
        """What was heard in each piece, in order."""
        import torch

        features, mask = _pad([piece.features for piece in pieces])
        device, dtype = self._model.device, self._model.dtype
        with torch.inference_mode():
            rows = self._hear_tokens(torch.from_numpy(features).to(device, dtype), torch.from_numpy(mask).to(device))
        return [
            Heard(piece.clock, tuple(self._words(piece.clock, tokens)))
            for piece, tokens in zip(pieces, rows, strict=True)
        ]

    def _spell(self, features: "torch.Tensor", mask: "torch.Tensor") -> list[list[Token]]:
        """The tokens of a CTC model: one at each frame, where the same one in a row counts once and blank is none."""
        output = self._model.generate(input_features=features, attention_mask=mask, return_dict_in_generate=True)
        best = output.logits.float().log_softmax(-1).amax(-1)
        blank = self._model.config.pad_token_id  # that is also what stands in the padding
        return [
            [self._run(run) for said, run in _runs(ids, scores) if said != blank]
            for ids, scores in zip(output.sequences.tolist(), best.tolist(), strict=True)
        ]

    def _run(self, run: list[tuple[int, int, float]]) -> Token:
        (first, token, _), (last, _, _) = run[0], run[-1]
        return Token(token, first * self._frame_s, (last + 1) * self._frame_s, max(score for _, _, score in run))

    def _transduce(self, features: "torch.Tensor", mask: "torch.Tensor") -> list[list[Token]]:
        """The tokens of a TDT model, which says with each how many frames to go on.

        The model's own `generate` tells no probabilities, and lets rows that are done speak on until the last one is.
        """
        import torch

        model, config = self._model, self._model.config
        encoded = model.get_audio_features(input_features=features, attention_mask=mask)
        frames, lengths = encoded.pooler_output, encoded.attention_mask.sum(-1)
        rows = torch.arange(len(frames), device=frames.device)
        durations = torch.tensor(config.durations, device=frames.device)
        at, stayed = torch.zeros_like(lengths), torch.zeros_like(lengths)
        said = torch.full_like(lengths, config.blank_token_id)
        cache, steps = None, list[tuple[torch.Tensor, ...]]()
        while bool((at < lengths).any()):
            frame = type(encoded)(pooler_output=frames[rows, at.clamp(max=frames.shape[1] - 1), None])
            output = model(
                decoder_input_ids=said[:, None], decoder_cache=cache, use_decoder_cache=True, encoder_outputs=frame
            )
            cache, logits = output.decoder_cache, output.logits[:, -1].float()
            scores, best = logits[:, : config.vocab_size].log_softmax(-1).max(-1)
            said = torch.where(at < lengths, best, config.blank_token_id)
            onward = durations[logits[:, config.vocab_size :].argmax(-1)]
            steps.append((said, at, at + onward, scores))
            stayed = torch.where(onward > 0, 0, stayed + 1)
            # Blank never stays, and nothing stays for ever.
            stuck = (onward == 0) & ((said == config.blank_token_id) | (stayed >= config.max_symbols_per_step))
            at, stayed = at + torch.where(stuck, 1, onward), torch.where(stuck, 0, stayed)
        return self._emitted(steps, len(rows))

    def _emitted(self, steps: "list[tuple[torch.Tensor, ...]]", count: int) -> list[list[Token]]:
        emitted: list[list[Token]] = [[] for _ in range(count)]
        for step in zip(*(_to_lists(column) for column in zip(*steps, strict=True)), strict=True):
            for row, (said, start, end, score) in enumerate(zip(*step, strict=True)):
                if said != self._model.config.blank_token_id:
                    emitted[row].append(Token(said, start * self._frame_s, end * self._frame_s, score))
        return emitted

    def _words(self, clock: Clock, tokens: Sequence[Token]) -> Iterator[Spoken]:
        groups: list[list[Token]] = []
        for token in tokens:
            if token.id in self._not_text:
                continue
            if not groups or self._tokenizer.convert_ids_to_tokens(token.id).startswith(_WORD_BEGINS):
                groups.append([])
            groups[-1].append(token)
        for group in groups:
            ids = [token.id for token in group]
            text = self._tokenizer.decode(ids, group_tokens=False).strip()
            if text:
                yield spoken_word(clock, text, group)


def _pad(rows: Sequence[Array]) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Spectra of any length as ``[n, frames, n_mels]``, and which frames of that are no padding, ``[n, frames]``."""
    longest = max(len(row) for row in rows)
    features = np.zeros((len(rows), longest, rows[0].shape[1]), np.float32)
    mask = np.zeros((len(rows), longest), np.bool_)
    for number, row in enumerate(rows):
        features[number, : len(row)] = row
        mask[number, : len(row)] = True
    return features, mask


def _runs(ids: Sequence[int], scores: Sequence[float]) -> Iterator[tuple[int, list[tuple[int, int, float]]]]:
    """Each token with the frames on which it is said in a row: frame, token, score."""
    frames = zip(range(len(ids)), ids, scores, strict=True)
    for token, run in groupby(frames, key=lambda frame: frame[1]):
        yield token, list(run)


def _to_lists(column: "Sequence[torch.Tensor]") -> list[list[Any]]:
    """Tensors of one length, brought over from the device in one go."""
    import torch

    lists: list[list[Any]] = torch.stack(list(column)).tolist()
    return lists
