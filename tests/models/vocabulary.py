"""The tiny Whisper's tokenizer: a token for each word of its sentences, bytes for all else, and Whisper's own tokens.

It must not know the model.
"""

import re

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tests.models.sentences import SENTENCES

LANGUAGES = ("en", "de", "fr", "es")
"""Those that have a token. Nothing is said in the last two: the model must prefer the right one to them too."""

TIMESTAMPS = 1501
"""0.00 to 30.00 seconds in steps of 20 ms. Their tokens come last, and tokenizer.json does not hold them."""

_SPECIALS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)


class Vocabulary:
    """Text and times as token ids."""

    def __init__(self) -> None:
        self.tokenizer = _make_tokenizer()
        self.first_timestamp = self.id("<|notimestamps|>") + 1
        self.size = self.first_timestamp + TIMESTAMPS

    def id(self, token: str) -> int:
        number = self.tokenizer.token_to_id(token)
        assert number is not None, f"there is no token {token!r}"
        return int(number)

    def text(self, text: str) -> list[int]:
        """The tokens of a text as Whisper writes it, with a space before the first word."""
        return list(self.tokenizer.encode(" " + text).ids)

    def time(self, seconds: float) -> int:
        return self.first_timestamp + min(max(round(seconds / 0.02), 0), TIMESTAMPS - 1)


def _make_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: number for number, character in enumerate(alphabet)}
    merges: dict[tuple[str, str], None] = {}
    for word in _words():
        grown = word[0]
        for character in word[1:]:
            merges[grown, character] = None
            grown += character
            vocabulary.setdefault(grown, len(vocabulary))
    vocabulary[""] = len(vocabulary)  # CTranslate2 calls a model multilingual only where there is an empty token
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIALS])
    return tokenizer


def _words() -> list[str]:
    """Every word with the space before it, spelled in the characters that stand for bytes."""
    texts = [text for sentence in SENTENCES for text in (sentence.text, sentence.english)]
    words = sorted({word for text in texts for word in re.findall(r"\w+", text)})
    spelled = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return [spelled.pre_tokenize_str(" " + word)[0][0] for word in words]
