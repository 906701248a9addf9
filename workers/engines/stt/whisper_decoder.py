"""One model call of Whisper on CTranslate2: windows of different notes and languages in, what was heard in each out.

It is about arithmetic alone: where the windows come from and what becomes of the text is the engine's business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxqueue.settings import WhisperSettings
from voxqueue.stages import Segment, Task, Word
from workers.engines.stt import whisper_text
from workers.engines.stt.whisper_text import Hypothesis, Stretch
from workers.engines.stt.windows import Clock

if TYPE_CHECKING:
    import ctranslate2
    from faster_whisper import WhisperModel
    from faster_whisper.tokenizer import Tokenizer

Array = npt.NDArray[np.float32]

FRAMES = 3000  # of 10 ms: what Whisper is trained on
_SLACK_FRAMES = 250  # a shorter window than that ends too abruptly for it
# Never four times the mels of a Whisper, 80 or 128: CTranslate2 would take the output for a spectrum, and encode again.
_FRAME_STEP = 100
MOST_TOKENS = 224  # half of the model's context; the other half is for the prompt


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A window on its way through the model: log-mel ``[n_mels, frames]`` without padding.

    `encoded` is what the encoder made of it, ``[1500, d_model]``, where it has been there already. `only_language`:
    nothing else is wanted for now.
    """

    features: Array
    clock: Clock
    language: str | None
    task: Task
    prompt: tuple[int, ...]
    words: bool
    only_language: bool = False
    encoded: Array | None = None

    @property
    def frames(self) -> int:
        return int(self.features.shape[-1])


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What became of a piece; without text where only the language was asked for."""

    clock: Clock
    language: str
    language_probabilities: dict[str, float]
    log_probability: float = 0.0
    tokens: int = 0
    segments: tuple[Segment, ...] = ()
    encoded: Array | None = None


class Encoding:
    """What the encoder made of some windows, ``[n, frames / 2, d_model]``, where the model left it."""

    def __init__(self, view: "ctranslate2.StorageView") -> None:
        self._view = view
        self._host: Array | None = None

    @property
    def frames(self) -> int:
        """Of the spectrum."""
        return 2 * int(self._view.shape[1])

    def rows(self, indexes: Sequence[int]) -> "ctranslate2.StorageView":
        """Some of the windows; all of them, in order, cost nothing."""
        if list(indexes) == list(range(self._view.shape[0])):
            return self._view
        return _view(self.on_host()[list(indexes)])

    def on_host(self) -> Array:
        """All of it as an array."""
        if self._host is None:
            self._host = _to_numpy(self._view)
        return self._host


class WhisperDecoder:
    """A loaded Whisper. Several threads may call `hear` at once, as many as the model has workers."""

    def __init__(self, whisper: "WhisperModel", settings: WhisperSettings) -> None:
        self.whisper = whisper
        self._settings = settings
        self._one_by_one = whisper.model.device == "cpu"
        # A GPU encodes again in less time than it takes to move; a short window is as long as its batch wants it.
        self._keeps_encodings = self._one_by_one and not settings.short_windows
        self._tokenizers: dict[tuple[str, Task], Tokenizer] = {}

    def hear(self, pieces: Sequence[Piece]) -> list[Heard]:
        """What was heard in each piece, in order. Their languages and prompts may differ."""
        encoded = self._encode(pieces)
        pieces, probabilities = self._detect(pieces, encoded)
        told = [index for index, piece in enumerate(pieces) if not piece.only_language]
        hypotheses: dict[int, Hypothesis] = {}
        for group in _groups(told, lambda index: len(pieces[index].prompt)):
            hypotheses.update(self._decode(pieces, encoded, group))
        words = self._align(pieces, encoded, hypotheses)
        heard = []
        for index, piece in enumerate(pieces):
            assert piece.language is not None
            one = Heard(piece.clock, piece.language, probabilities.get(index, {}))
            if piece.only_language:
                one = replace(one, encoded=encoded.on_host()[index].copy() if self._keeps_encodings else None)
            elif not hypotheses[index].is_silence:
                one = self._told(one, piece, hypotheses[index], words.get(index, []))
            heard.append(one)
        return heard

    def _encode(self, pieces: Sequence[Piece]) -> Encoding:
        """The encoder's output of every piece.

        On a CPU a batch falls out of the cache, so that windows are encoded one by one; decoding gains from batches.
        """
        frames = self._window_frames(pieces)
        fresh = [index for index, piece in enumerate(pieces) if piece.encoded is None]
        at_once = 1 if self._one_by_one else max(1, len(fresh))
        parts = [self._encode_batch(pieces, fresh[k : k + at_once], frames) for k in range(0, len(fresh), at_once)]
        if len(parts) == 1 and len(fresh) == len(pieces):
            return Encoding(parts[0])
        rows = dict(zip(fresh, chain.from_iterable(map(_to_numpy, parts)), strict=True))
        whole = [rows[index] if piece.encoded is None else piece.encoded for index, piece in enumerate(pieces)]
        return Encoding(_view(np.stack(whole)))

    def _encode_batch(self, pieces: Sequence[Piece], indexes: Sequence[int], frames: int) -> "ctranslate2.StorageView":
        features = np.zeros((len(indexes), pieces[0].features.shape[0], frames), np.float32)
        for row, index in enumerate(indexes):
            features[row, :, : pieces[index].frames] = pieces[index].features
        return self.whisper.model.encode(_view(features))

    def _window_frames(self, pieces: Sequence[Piece]) -> int:
        if not self._settings.short_windows:
            return FRAMES
        longest = max(piece.frames for piece in pieces) + _SLACK_FRAMES
        return min(FRAMES, -(-longest // _FRAME_STEP) * _FRAME_STEP)

    def _detect(self, pieces: Sequence[Piece], encoded: Encoding) -> tuple[list[Piece], dict[int, dict[str, float]]]:
        """Give a language to the pieces that have none; also the probabilities on which that rests."""
        unknown = [index for index, piece in enumerate(pieces) if piece.language is None]
        if not unknown:
            return list(pieces), {}
        # On a GPU, asking for all of them costs less than picking some out.
        asked = unknown if self._one_by_one else range(len(pieces))
        found = dict(zip(asked, self.whisper.model.detect_language(encoded.rows(asked)), strict=True))
        probabilities = {index: {token[2:-2]: probability for token, probability in found[index]} for index in unknown}
        best = {index: max(ranked, key=lambda code: ranked[code]) for index, ranked in probabilities.items()}
        told = [replace(piece, language=best.get(index, piece.language)) for index, piece in enumerate(pieces)]
        return told, probabilities

    def _decode(self, pieces: Sequence[Piece], encoded: Encoding, indexes: Sequence[int]) -> dict[int, Hypothesis]:
        """The text of some pieces whose prompts are of one length. What looks wrong is tried again, and only that, at
        the next temperature; the best try counts."""
        best: dict[int, Hypothesis] = {}
        left = list(indexes)
        for temperature in self._settings.temperatures:
            for index, tried in zip(left, self._generate(pieces, encoded, left, temperature), strict=True):
                if index not in best or tried.rank > best[index].rank or tried.is_silence:
                    best[index] = tried
            left = [index for index in left if best[index].is_doubtful]
            if not left:
                break
        if left and encoded.frames < FRAMES:
            for index, tried in zip(left, self._generate_in_full([pieces[index] for index in left]), strict=True):
                best[index] = max(best[index], tried, key=lambda one: one.rank)
        return best

    def _generate_in_full(self, pieces: Sequence[Piece]) -> list[Hypothesis]:
        """Text from windows of the length that the model was trained on, where short ones did not bring it out."""
        every = range(len(pieces))
        return self._generate(
            pieces, Encoding(self._encode_batch(pieces, every, FRAMES)), every, self._settings.temperatures[0]
        )

    def _generate(
        self, pieces: Sequence[Piece], encoded: Encoding, indexes: Sequence[int], temperature: float
    ) -> list[Hypothesis]:
        """One try at each piece. The longest bounds the length of all; what comes to that bound is tried without."""
        most = _token_bound(max(pieces[index].clock.seconds for index in indexes))
        found = self._generate_at_most(most, pieces, encoded, indexes, temperature)
        cut = [place for place, one in enumerate(found) if len(one.tokens) >= most]
        if cut and most < MOST_TOKENS:
            again = [indexes[place] for place in cut]
            whole = self._generate_at_most(MOST_TOKENS, pieces, encoded, again, temperature)
            for place, one in zip(cut, whole, strict=True):
                found[place] = one
        return found

    def _generate_at_most(
        self, most: int, pieces: Sequence[Piece], encoded: Encoding, indexes: Sequence[int], temperature: float
    ) -> list[Hypothesis]:
        chosen = [pieces[index] for index in indexes]
        tokenizers = [self._tokenizer(piece) for piece in chosen]
        prompts = [[*piece.prompt, *it.sot_sequence] for piece, it in zip(chosen, tokenizers, strict=True)]
        search: dict[str, Any] = {"beam_size": self._settings.beam_size}
        if temperature > 0:
            search = {"beam_size": 1, "num_hypotheses": 5, "sampling_topk": 0, "sampling_temperature": temperature}
        found = self.whisper.model.generate(
            encoded.rows(indexes),
            prompts,
            # It is the length with the prompt, and half of it is the most that is generated.
            max_length=max(2 * most, most + len(prompts[0])),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=_suppressed(tokenizers[0]),
            max_initial_timestamp_index=50,
            **search,
        )
        return [_hypothesis(one, tokenizer) for one, tokenizer in zip(found, tokenizers, strict=True)]

    def _align(
        self, pieces: Sequence[Piece], encoded: Encoding, hypotheses: dict[int, Hypothesis]
    ) -> dict[int, list[Word]]:
        """The words of the pieces that want them, in seconds of the note."""
        wanted = [n for n, found in hypotheses.items() if pieces[n].words and not found.is_silence and found.text]
        words: dict[int, list[Word]] = {}
        for group in _groups(wanted, lambda index: (pieces[index].language, pieces[index].task)):
            tokenizer = self._tokenizer(pieces[group[0]])
            frames: Any = [pieces[index].frames for index in group]  # CTranslate2 takes one for each
            texts: Any = [[t for t in hypotheses[index].tokens if t < tokenizer.eot] for index in group]
            found = self.whisper.find_alignment(tokenizer, texts, encoded.rows(group), frames)
            for index, aligned in zip(group, found, strict=True):
                words[index] = _words(pieces[index].clock, aligned)
        return words

    def _told(self, one: Heard, piece: Piece, hypothesis: Hypothesis, words: list[Word]) -> Heard:
        tokenizer = self._tokenizer(piece)
        found = whisper_text.stretches(hypothesis.tokens, tokenizer.timestamp_begin, piece.clock.seconds)
        texts = [(stretch, tokenizer.decode(list(stretch.tokens)).strip()) for stretch in found]
        segments = [
            whisper_text.note_segment(piece.clock, stretch, text, hypothesis.log_probability, spoken)
            for (stretch, text), spoken in zip(texts, _deal(words, piece.clock, found), strict=True)
            if text
        ]
        return replace(
            one,
            segments=tuple(segments),
            log_probability=hypothesis.log_probability,
            tokens=len(hypothesis.tokens),
        )

    def _tokenizer(self, piece: Piece) -> "Tokenizer":
        from faster_whisper.tokenizer import Tokenizer

        assert piece.language is not None
        key = piece.language, piece.task
        if key not in self._tokenizers:
            model = self.whisper
            self._tokenizers[key] = Tokenizer(
                model.hf_tokenizer, model.model.is_multilingual, task=piece.task.value, language=piece.language
            )
        return self._tokenizers[key]


def _token_bound(seconds: float) -> int:
    """Most tokens that so much speech is nearly always; without it, a window that repeats itself holds up its batch."""
    return min(MOST_TOKENS, 25 + round(16 * seconds))


def _suppressed(tokenizer: "Tokenizer") -> list[int]:
    from faster_whisper.transcribe import get_suppressed_tokens

    return list(get_suppressed_tokens(tokenizer, [-1]) or ())


def _hypothesis(found: "ctranslate2.models.WhisperGenerationResult", tokenizer: "Tokenizer") -> Hypothesis:
    tokens = tuple(found.sequences_ids[0])
    text = tokenizer.decode([token for token in tokens if token < tokenizer.eot]).strip()
    # The score is the mean over the tokens; as Whisper counts, the end of the text is one more.
    log_probability = found.scores[0] * len(tokens) / (len(tokens) + 1)
    return Hypothesis(tokens, text, log_probability, found.no_speech_prob)


def _words(clock: Clock, aligned: Sequence[dict[str, Any]]) -> list[Word]:
    """Words on the note's clock; the model gives the last one of a window no length at times."""
    words = []
    for word in aligned:
        text = word["word"].strip()
        start, end = clock.note_times(float(word["start"]), float(word["end"]))
        end = max(end, start + whisper_text.TIMESTAMP_S)
        if text:
            words.append(Word(round(start, 2), round(end, 2), text, round(float(word["probability"]), 4)))
    return whisper_text.join_punctuation(words)


def _deal(words: Sequence[Word], clock: Clock, found: Sequence[Stretch]) -> list[list[Word]]:
    """Each stretch's words: those that begin before the next stretch does."""
    dealt: list[list[Word]] = [[] for _ in found]
    begins = [clock.note_time(stretch.start) for stretch in found]
    for word in words:
        place = sum(begin <= word.start + whisper_text.TIMESTAMP_S for begin in begins)
        if dealt:
            dealt[max(0, place - 1)].append(word)
    return dealt


def _groups(indexes: Sequence[int], key: Callable[[int], object]) -> list[list[int]]:
    """The indexes by what must be equal in one call."""
    groups: dict[object, list[int]] = {}
    for index in indexes:
        groups.setdefault(key(index), []).append(index)
    return list(groups.values())


def _view(array: Array) -> "ctranslate2.StorageView":
    import ctranslate2

    return ctranslate2.StorageView.from_array(np.ascontiguousarray(array))


def _to_numpy(view: "ctranslate2.StorageView") -> Array:
    import ctranslate2

    if view.device != "cpu":
        view = view.to_device(ctranslate2.Device.cpu)
    if view.dtype != ctranslate2.DataType.float32:
        view = view.to(ctranslate2.DataType.float32)
    return np.asarray(view)
