"""A tiny VibeVoice, saved as a real one is. Its weights are random, but for those that count: longer texts take longer.

Its frames depend on the text and on the voice.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

transformers: Any = import_module("transformers")  # too sparsely typed to be checked

# In the order of their numbers: where the model likes two of them equally, it takes the first.
MARKS = ("<|vision_pad|>", "<|endoftext|>", "<|vision_start|>", "<|vision_end|>")
_AUDIO, _END, _BEGIN_AUDIO, _END_AUDIO = MARKS
_TEMPLATE = (
    "Speak. Voice:{% for message in messages %}{% for item in message.content %}{% if item.type == 'audio' %}"
    f" {_BEGIN_AUDIO}{_AUDIO}{_END_AUDIO}"
    "{% endif %}{% endfor %}{% endfor %}\nText:{% for message in messages %}{% for item in message.content %}"
    "{% if item.type == 'text' %} {{ item.text }}{% endif %}{% endfor %}{% endfor %}\n"
    f"Speech:{_BEGIN_AUDIO}"
)
FRAME = 3200  # samples
SAMPLE_RATE = 8_000
_WEIGHT, _BALANCE = 0, 1  # what two of the hidden values stand for
_FRAME_WEIGHT = 6.0


def make_vibevoice(folder: Path, *, endless: bool = False) -> Path:
    """Save a model and return its folder. One that is ``endless`` never thinks that a sentence is over."""
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    audio, end, begin_audio, end_audio = tokenizer.convert_tokens_to_ids(list(MARKS))
    codec = {
        "num_filters": 2,
        "downsampling_ratios": [8, 20, 20],
        "depths": [1, 1, 1, 1],
        "hidden_size": 8,
        "initializer_range": 0.1,
        "layer_scale_init_value": 0.1,
    }
    model = transformers.VibeVoiceForConditionalGeneration(
        transformers.VibeVoiceConfig(
            audio_config={"model_type": "vibevoice_acoustic_tokenizer", **codec},
            semantic_model_config={"model_type": "vibevoice_acoustic_tokenizer_encoder", **codec},
            text_config={
                "model_type": "qwen2",
                "vocab_size": len(tokenizer),
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "intermediate_size": 32,
                "max_position_embeddings": 2048,
                "initializer_range": 0.1,
            },
            diffusion_head_config={"num_hidden_layers": 1, "intermediate_size": 32, "frequency_embedding_size": 16},
            pad_token_id=end,
            eos_token_id=end,
            audio_token_id=audio,
            audio_bos_token_id=begin_audio,
            audio_eos_token_id=end_audio,
        )
    ).eval()
    with torch.no_grad():
        model.lm_head.weight[[audio, end, begin_audio, end_audio]] = 0  # equally likely: the first of them it is
        if not endless:
            _count(model)
            model.lm_head.weight[audio, _BALANCE] = 1.0
    model.generation_config = transformers.GenerationConfig(
        pad_token_id=end, eos_token_id=end, guidance_scale=1.3, num_diffusion_steps=3
    )
    model.save_pretrained(folder)
    extractor = transformers.VibeVoiceAcousticTokenizerFeatureExtractor(
        sampling_rate=SAMPLE_RATE, pad_to_multiple_of=FRAME
    )
    transformers.VibeVoiceProcessor(extractor, tokenizer, chat_template=_TEMPLATE).save_pretrained(folder)
    return folder


def _count(model: Any) -> None:
    """Have the model weigh the tokens of the prompt against the frames that it has made."""
    language_model = model.model.language_model
    for layer in language_model.layers:
        layer.self_attn.o_proj.weight[[_WEIGHT, _BALANCE]] = 0
        layer.mlp.down_proj.weight[[_WEIGHT, _BALANCE]] = 0
    for connector, weight in (
        (model.model.multi_modal_projector, 0.0),
        (model.model.semantic_connector, -_FRAME_WEIGHT),
    ):
        connector.linear_2.weight[[_WEIGHT, _BALANCE]] = 0
        connector.linear_2.bias[_WEIGHT], connector.linear_2.bias[_BALANCE] = weight, 0
    language_model.embed_tokens.weight[:, _WEIGHT] = 0.1
    language_model.embed_tokens.weight[:, _BALANCE] = 0
    attention = language_model.layers[-1].self_attn
    for projection in (attention.q_proj, attention.v_proj):
        projection.weight.zero_()
        projection.bias.zero_()
    attention.v_proj.weight[0, _WEIGHT] = 1.0  # without queries all are heeded equally: the mean of their weights
    attention.o_proj.weight[_BALANCE, 0] = 100.0


def _tokenizer() -> Any:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    return transformers.Qwen2TokenizerFast(
        tokenizer_object=tokenizer, vocab=vocabulary, merges=[], pad_token=_END, eos_token=_END
    )
