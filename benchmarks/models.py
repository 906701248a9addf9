"""Models of real size without real weights, so that arithmetic costs what it costs and nothing has to be downloaded."""

import json
from pathlib import Path
from typing import Any

SENTENCE = "please remind me to call my mother on sunday morning at nine and to bring the blue folder to the office"
LANGUAGES = ("en", "de", "fr", "es", "pt", "it")

_WIDTH, _LAYERS, _HEADS, _MELS = 384, 4, 6, 80  # those of Whisper tiny
_VOCABULARY = 51_865


def make_whisper(folder: Path) -> Path:
    """A Whisper of tiny's dimensions for CTranslate2 that says one sentence of 22 tokens, whatever it hears.

    It is sure of every token, so that no guard fires and no window is tried again, and all windows take the same steps.
    """
    from ctranslate2.converters import TransformersConverter
    from transformers import GenerationConfig

    tokenizer = _whisper_tokenizer()
    model = _whisper(tokenizer)
    end = tokenizer.token_to_id("<|endoftext|>")
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        suppress_tokens=[],
        begin_suppress_tokens=[end],
        alignment_heads=[[0, 0]],
        lang_to_id={f"<|{code}|>": tokenizer.token_to_id(f"<|{code}|>") for code in LANGUAGES},
        is_multilingual=True,
        pad_token_id=end,
    )
    source = folder / "transformers"
    model.save_pretrained(source)
    tokenizer.save(str(source / "tokenizer.json"))
    files: dict[str, dict[str, Any]] = {
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"},
        "preprocessor_config.json": {
            "feature_size": _MELS,
            "sampling_rate": 16000,
            "hop_length": 160,
            "chunk_length": 30,
            "n_fft": 400,
        },
    }
    for name, content in files.items():
        (source / name).write_text(json.dumps(content), "utf-8")
    converted = folder / "whisper"
    copied = ["tokenizer.json", "preprocessor_config.json"]
    TransformersConverter(str(source), copy_files=copied).convert(str(converted), quantization="int8", force=True)
    return converted


def _whisper_tokenizer() -> Any:
    """Whisper's vocabulary in size and special tokens; of words it holds those of the sentence."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    vocabulary = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    for word in SENTENCE.split():
        known = "Ġ"
        for letter in word:
            if (known, letter) not in merges:
                merges.append((known, letter))
            known += letter
            vocabulary.setdefault(known, len(vocabulary))
    vocabulary[""] = len(vocabulary)  # by an empty token CTranslate2 knows that a model speaks several languages
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES), "<|translate|>"]
    special += ["<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    for number in range(_VOCABULARY - 1501 - len(special) - len(vocabulary)):
        vocabulary[f"<filler{number}>"] = len(vocabulary)
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def _whisper(tokenizer: Any) -> Any:
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    token = tokenizer.token_to_id
    end, first_timestamp = token("<|endoftext|>"), token("<|notimestamps|>") + 1
    config = WhisperConfig(
        vocab_size=first_timestamp + 1501,
        d_model=_WIDTH,
        num_mel_bins=_MELS,
        encoder_layers=_LAYERS,
        decoder_layers=_LAYERS,
        encoder_attention_heads=_HEADS,
        decoder_attention_heads=_HEADS,
        encoder_ffn_dim=4 * _WIDTH,
        decoder_ffn_dim=4 * _WIDTH,
        tie_word_embeddings=False,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=token("<|startoftranscript|>"),
    )
    torch.manual_seed(0)
    model: Any = WhisperForConditionalGeneration(config)
    model.eval()
    says = [token("<|en|>"), token("<|transcribe|>"), first_timestamp]
    says += [*(token("Ġ" + word) for word in SENTENCE.split()), first_timestamp + 250, end]
    with torch.no_grad():
        decoder, vote = model.model.decoder, model.proj_out.weight
        decoder.embed_tokens.weight.zero_()
        decoder.embed_positions.weight.zero_()
        decoder.embed_positions.weight.fill_diagonal_(1.0)  # each position votes for the token that comes there
        for layer in decoder.layers:
            for part in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
                part.weight.zero_()
                part.bias.zero_()
        vote.zero_()
        for position, said in enumerate(says):
            vote[said, position] = 4.0
        vote[end, len(says) :] = 4.0
    return model


def make_pocket(folder: Path) -> tuple[Path, Path]:
    """A PocketTTS of real dimensions with random weights and one voice, and its codec; their folders.

    It never comes to an end by itself: how long the speech of a text is follows from the number of its words.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import (
        GenerationConfig,
        PocketTTSAudioTokenizerConfig,
        PocketTTSAudioTokenizerModel,
        PocketTTSConfig,
        PocketTTSFeatureExtractor,
        PocketTTSForConditionalGeneration,
        PocketTTSProcessor,
    )

    torch.manual_seed(0)
    tokenizer = _pocket_tokenizer()
    identity = tokenizer.convert_tokens_to_ids
    marks = {f"{name}_id": identity(mark) for name, mark in _POCKET_MARKS.items()}
    # A third of the real rate of 12.5 frames a second only shortens what is said, so that a run ends some time.
    config = PocketTTSConfig(pad_token_id=identity("<pad>"), frame_rate=4.0, **marks)
    model: Any = PocketTTSForConditionalGeneration(config)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False, eos_threshold=1e9, return_dict_in_generate=True, pad_token_id=identity("<pad>")
    )
    codec: Any = PocketTTSAudioTokenizerModel(PocketTTSAudioTokenizerConfig())
    with torch.no_grad():
        codec.decoder.decoder_seanet.layers[-1].conv.weight *= 0.02  # else most samples would be clipped
    codec.save_pretrained(folder / "codec")
    model.save_pretrained(folder / "model")
    processor = PocketTTSProcessor(
        PocketTTSFeatureExtractor(),  # type: ignore[no-untyped-call]
        tokenizer,
        audio_tokenizer=codec,
        chat_template=_POCKET_TEMPLATE,
    )
    processor.save_pretrained(folder / "model")
    (folder / "model" / "voices").mkdir()
    save_file({"latents": torch.randn(40, model.config.latent_dim)}, folder / "model" / "voices" / "any.safetensors")
    return folder / "model", folder / "codec"


_POCKET_MARKS = {
    "audio_prompt_token": "<|voice|>",
    "audio_latent_token": "<|latent|>",
    "audio_prompt_bos_token": "<|voice begins|>",
    "audio_bos_token": "<|speech begins|>",
}
_POCKET_TEMPLATE = (
    "{% for message in messages %}{% for item in message.content %}{% if item.type == 'text' %}{{ item.text }}"
    "{% endif %}{% endfor %}{% endfor %}<|speech begins|>"
)


def _pocket_tokenizer() -> Any:
    """One token per word, as real ones have about; which word it is does not matter here."""
    from tokenizers import AddedToken, Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({"<any>": 0}, unk_token="<any>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = ["<pad>", *_POCKET_MARKS.values()]
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        unk_token="<any>",
        pad_token="<pad>",
        padding_side="left",
        extra_special_tokens=_POCKET_MARKS,
    )
