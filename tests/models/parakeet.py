"""A tiny Parakeet with random weights, saved as NVIDIA's are. Its words depend on what it hears, and mean nothing."""

from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    ParakeetCTCConfig,
    ParakeetEncoderConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetForTDT,
    ParakeetProcessor,
    ParakeetTDTConfig,
    ParakeetTokenizer,
)

from voxqueue.stages import SAMPLE_RATE
from workers.engines.stt.babble import babble

FRAME_S = 0.08
"""Seconds from one frame of the encoder to the next."""

_SPREAD = 2.0
_WORDS = (
    *("amber", "brook", "cedar", "delta", "ember", "frost", "grove", "haven"),
    *("iris", "jade", "knoll", "lotus", "maple", "north", "ocean", "pearl"),
)
_MELS = 80


def make_parakeet(folder: Path, kind: Literal["ctc", "tdt"], *, blank: float = 0.0, stay: float = 0.0) -> Path:
    """Write the model into an empty folder, about 300 kB, and return that.

    Args:
        blank: Added to the logit of saying nothing; all lie around 0, some units from each other.
        stay: Added to the logit of going on by no frame (TDT).
    """
    torch.manual_seed(0)
    tokenizer = _make_tokenizer(kind)
    parts = {"feature_extractor": _make_extractor(), "tokenizer": tokenizer}
    processor = ParakeetProcessor(**parts, decoder_type=kind)  # type: ignore[no-untyped-call]
    processor.save_pretrained(folder)
    model = _make_ctc(len(tokenizer), blank) if kind == "ctc" else _make_tdt(tokenizer, blank, stay)
    model.save_pretrained(folder)
    return folder


def _make_extractor() -> ParakeetFeatureExtractor:
    return ParakeetFeatureExtractor(feature_size=_MELS)  # type: ignore[no-untyped-call]


def _make_tokenizer(kind: str) -> Any:
    """Whole words, and letters that go on with the word before them; the special tokens lie where NVIDIA's do."""
    pieces = ["<unk>", *(["<s>", "<pad>"] if kind == "tdt" else []), "▁", *(f"▁{word}" for word in _WORDS)]
    pieces += [*"abcdefghij", ".", "?"]
    tokenizer = Tokenizer(BPE({piece: number for number, piece in enumerate(pieces)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = [piece for piece in pieces if piece.startswith("<")] + ["<pad>" if kind == "ctc" else "<blank>"]
    tokenizer.add_tokens([AddedToken(piece, normalized=False, special=True) for piece in special])
    marks = {"pad_token": "<pad>", "unk_token": "<unk>"}
    return ParakeetTokenizer(tokenizer_object=tokenizer, **marks)  # type: ignore[no-untyped-call]


def _make_encoder() -> ParakeetEncoderConfig:
    return ParakeetEncoderConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        subsampling_conv_channels=8,
        num_mel_bins=_MELS,
        scale_input=False,
        initializer_range=0.3,  # else it says the same whatever it hears
    )


def _make_ctc(vocabulary: int, blank: float) -> ParakeetForCTC:
    config = ParakeetCTCConfig(vocab_size=vocabulary, pad_token_id=vocabulary - 1, encoder_config=_make_encoder())
    model = ParakeetForCTC(config)
    _listen(model, model.ctc_head)
    with torch.no_grad():
        assert model.ctc_head.bias is not None
        model.ctc_head.bias[-1] += blank
    return model


def _make_tdt(tokenizer: Any, blank: float, stay: float) -> ParakeetForTDT:
    vocabulary = len(tokenizer)
    config = ParakeetTDTConfig(
        vocab_size=vocabulary,
        decoder_hidden_size=32,
        num_decoder_layers=1,
        pad_token_id=tokenizer.convert_tokens_to_ids("<pad>"),
        blank_token_id=tokenizer.convert_tokens_to_ids("<blank>"),
        encoder_config=_make_encoder(),
    )
    model = ParakeetForTDT(config)
    _listen(model, model.encoder_projector)
    with torch.no_grad():
        model.joint.head.bias[config.blank_token_id] += blank
        model.joint.head.bias[vocabulary] += stay
    model.generation_config.decoder_start_token_id = config.blank_token_id
    model.generation_config.suppress_tokens = list(range(vocabulary, vocabulary + len(config.durations)))
    return model


def _listen(model: ParakeetForCTC | ParakeetForTDT, layer: torch.nn.Conv1d | torch.nn.Linear) -> None:
    """Make a layer look at how the encoder's frames differ: random weights give them far more in common."""
    model.eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        heard = _make_extractor()([babble(10)], sampling_rate=SAMPLE_RATE, return_tensors="pt")
        frames = model.encoder(**heard).last_hidden_state[0]
        weight = layer.weight.reshape(layer.weight.shape[0], -1)
        weight *= _SPREAD / (frames @ weight.T).std(dim=0, keepdim=True).T
        assert layer.bias is not None
        layer.bias.copy_(-(weight @ frames.mean(dim=0)))
