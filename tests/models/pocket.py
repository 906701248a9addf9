"""A tiny PocketTTS with random weights, saved as a real one is. Its latents depend on the text and on the voice."""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

transformers: Any = import_module("transformers")  # too sparsely typed to be checked

MARKS = {
    "audio_prompt_token": "<|voice|>",
    "audio_latent_token": "<|latent|>",
    "audio_prompt_bos_token": "<|voice begins|>",
    "audio_bos_token": "<|speech begins|>",
}
_TEMPLATE = (
    "{% for message in messages %}"
    "{% for item in message.content %}{% if item.type == 'audio' %}<|voice begins|><|voice|>{% endif %}{% endfor %}"
    "{% for item in message.content %}{% if item.type == 'text' %}{{ item.text }}{% endif %}{% endfor %}"
    "{% endfor %}<|speech begins|>"
)
FRAME = 480  # samples


def make_pocket(folder: Path, *, ends_above: float = float("inf")) -> tuple[Path, Path]:
    """Save a model and its codec, and return their folders.

    Args:
        ends_above: The logit above which the model thinks that the sentence is over. They lie around 0; by default
            it never does, so that the time allowed to a text decides how long its speech is.
    """
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    identity = tokenizer.convert_tokens_to_ids
    model = transformers.PocketTTSForConditionalGeneration(
        transformers.PocketTTSConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            latent_dim=8,
            max_position_embeddings=2048,
            initializer_range=0.2,
            frame_rate=2.0,
            flow_head_config={
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "latent_dim": 8,
                "condition_dim": 32,
                "frequency_embedding_size": 16,
            },
            pad_token_id=identity("<pad>"),
            **{f"{name}_id": identity(mark) for name, mark in MARKS.items()},
        )
    ).eval()
    model.generation_config = transformers.GenerationConfig(
        do_sample=True,
        temperature=0.7,
        eos_threshold=min(ends_above, 1e9),
        return_dict_in_generate=True,
        pad_token_id=identity("<pad>"),
    )
    codec = _codec()
    codec.save_pretrained(folder / "codec")
    model.save_pretrained(folder / "model")
    extractor = transformers.PocketTTSFeatureExtractor(frame_size=FRAME, pad_to_multiple_of=FRAME)
    processor = transformers.PocketTTSProcessor(extractor, tokenizer, audio_tokenizer=codec, chat_template=_TEMPLATE)
    processor.save_pretrained(folder / "model")
    return folder / "model", folder / "codec"


def _codec() -> Any:
    codec = transformers.PocketTTSAudioTokenizerModel(
        transformers.PocketTTSAudioTokenizerConfig(
            hidden_size=16,
            num_filters=2,
            intermediate_size=16,
            num_attention_heads=2,
            num_key_value_heads=2,
            num_hidden_layers=1,
            upsample_groups=16,
            upsampling_ratios=[6, 5, 4],
            latent_stride=FRAME // 120,
            latent_dim=8,
        )
    ).eval()
    with torch.no_grad():
        codec.decoder.decoder_seanet.layers[-1].conv.weight *= 0.02  # else most samples would be clipped
    return codec


def _tokenizer() -> Any:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = ["<pad>", *MARKS.values()]
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", padding_side="left", extra_special_tokens=MARKS
    )
