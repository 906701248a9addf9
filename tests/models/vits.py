"""A tiny VITS with random weights, saved as a real one is: speech grows with the text, and speakers differ."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

transformers: Any = import_module("transformers")  # too sparsely typed to be checked

LETTERS = "_abcdefghijklmnopqrstuvwxyz '-,.?!0123456789"  # the first is the blank between letters


def make_vits(folder: Path, *, speakers: int = 1, letters: str = LETTERS, sample_rate: int = 16_000) -> Path:
    """Save a model that knows these letters, and return its folder."""
    folder.mkdir(parents=True)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    tokenizer = transformers.VitsTokenizer(
        str(vocabulary), pad_token=letters[0], unk_token=" ", add_blank=True, normalize=True, phonemize=False
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = transformers.VitsModel(
        transformers.VitsConfig(
            vocab_size=len(letters),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            ffn_dim=16,
            flow_size=16,
            spectrogram_bins=9,
            num_speakers=speakers,
            speaker_embedding_size=8 if speakers > 1 else 0,
            upsample_initial_channel=32,
            upsample_rates=[8, 8, 2, 2],
            upsample_kernel_sizes=[16, 16, 4, 4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3, 5]],
            duration_predictor_num_flows=1,
            duration_predictor_filter_channels=16,
            duration_predictor_flow_bins=4,
            depth_separable_num_layers=1,
            prior_encoder_num_flows=1,
            prior_encoder_num_wavenet_layers=1,
            posterior_encoder_num_wavenet_layers=1,
            sampling_rate=sample_rate,
            pad_token_id=0,
        )
    )
    with torch.no_grad():
        model.decoder.conv_post.weight *= 0.02  # else most samples would lie at full scale
    model.eval().save_pretrained(folder)
    return folder
