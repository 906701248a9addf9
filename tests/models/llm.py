"""A tiny language model of random weights that writes words. It has Qwen2's form and is loaded as a real one is."""

import json
from pathlib import Path

CONTEXT = 2048
"""Tokens that the model reads and writes; one for each byte of what it reads."""

WORDS = (
    *("apple", "bridge", "candle", "dragon", "engine", "forest", "garden", "harbor", "island", "jacket", "kettle"),
    *("lemon", "mirror", "needle", "orange", "pencil", "quarter", "river", "saddle", "table", "umbrella", "violin"),
    *("window", "yellow", "zebra", "anchor", "butter", "castle", "dinner", "elbow", "feather", "grape"),
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_llm(folder: Path) -> Path:
    """Write the model into an empty folder, about 200 kB, and return that."""
    vocabulary = _write_tokenizer(folder)
    _write_model(folder, vocabulary)
    return folder


def _write_tokenizer(folder: Path) -> int:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    bytes_ = {character: number for number, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    # No merges: it reads bytes. The words are there for it to write.
    words = {f"Ġ{word}": len(bytes_) + number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.BPE(vocab=bytes_ | words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": _TEMPLATE,
        "model_max_length": CONTEXT,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return len(bytes_)


def _write_model(folder: Path, first_word: int) -> None:
    import torch
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

    pad, start, end = (first_word + len(WORDS) + number for number in range(len(_SPECIAL)))
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=end + 1,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        initializer_range=0.5,  # else it writes the same whatever it reads
        tie_word_embeddings=False,
        eos_token_id=end,
        pad_token_id=pad,
        bos_token_id=None,
    )
    model = Qwen2ForCausalLM(config)
    silent = [*range(first_word), pad, start]
    model.generation_config = GenerationConfig.from_dict(
        {"eos_token_id": end, "pad_token_id": pad, "suppress_tokens": silent}
    )
    model.save_pretrained(folder)
