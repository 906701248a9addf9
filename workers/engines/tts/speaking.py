"""What every text-to-speech model does with a text: say its sentences, among those of other texts, and join them.

It must know no model and no runtime.
"""

from abc import abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from voxqueue import models
from voxqueue.errors import EngineRefused, EngineUnusable, VoxqueueError
from voxqueue.extras import require
from voxqueue.languages import find_language
from voxqueue.sentences import Sentence, split_sentences
from voxqueue.stages import Samples, TtsRequest, TtsResult
from workers.engines.base import Ask, TtsEngine
from workers.engines.device import free_cache

_NAMED = 10  # voices that a refusal lists


@dataclass(frozen=True, slots=True)
class Piece:
    """A sentence to be said in one go, in a voice that the engine has for the language."""

    text: str
    language: str
    voice: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a model made of a piece: mono float32 samples in [-1, 1] at the engine's rate, shape ``[n]``.

    `cut` where the model had not come to an end when it had used up the time that a text of this length may take.
    """

    samples: Samples
    cut: bool = False


class SpeakingEngine(TtsEngine[Piece, Spoken]):
    """Text to speech by a model on torch. An adapter writes `load`, `voices` and `speak`; it has at least one voice.

    Attributes:
        longest: Most characters that the model says well in one go.
        languages: Codes of the languages it speaks, the default first. Known once it is loaded.
        default_voice: The voice where none is asked for; None leaves that to the order of `voices`.
        sample_rate: Samples per second of what it says. Known once it is loaded.
    """

    takes_all_cores = True
    longest: int = 200
    languages: tuple[str, ...] = ()
    default_voice: str | None = None
    sample_rate: int = 24_000

    # --- what an adapter writes or changes ----------------------------------------------------------------------------

    @abstractmethod
    def speak(self, pieces: Sequence[Piece]) -> Sequence[Spoken | VoxqueueError]:
        """Say pieces of one group in one call of the model. All of them hold something that `can_speak`."""

    def group(self, piece: Piece) -> Hashable:
        """What must be equal in one call of the model."""
        return None

    def can_speak(self, text: str, language: str) -> bool:
        """Whether there is anything in the text that the model could say."""
        return any(character.isalnum() for character in text)

    # --- what all of them share ---------------------------------------------------------------------------------------

    def answer(self, request: TtsRequest, ask: Ask[Piece, Spoken]) -> TtsResult:
        voice, language = self._choose(request)
        sentences = self._sentences(request.text, language, ask)
        pieces = [Piece(sentence.text, language, voice) for sentence in sentences]
        spoken: list[Spoken] = []
        for one in ask(pieces):
            spoken.append(one)
            ask.progress(len(spoken) / len(pieces))
        cut = sum(one.cut for one in spoken)
        if cut:
            ask.degrade(f"{self.name} found no end of sentences, which were cut off: {cut} of {len(pieces)}")
        pauses = [sentence.pause_s for sentence in sentences]
        return TtsResult(join((one.samples for one in spoken), pauses, self.sample_rate), self.sample_rate)

    def run(self, batch: Sequence[Piece]) -> Sequence[Spoken | VoxqueueError]:
        answers: dict[int, Spoken | VoxqueueError] = {}
        groups: dict[Hashable, list[int]] = {}
        for row, piece in enumerate(batch):
            if self.can_speak(piece.text, piece.language):
                groups.setdefault(self.group(piece), []).append(row)
            else:
                answers[row] = self._nothing_to_say()
        for rows in groups.values():
            answers.update(zip(rows, self.speak([batch[row] for row in rows]), strict=True))
        return [answers[row] for row in range(len(batch))]

    def cost(self, piece: Piece) -> float:
        return len(piece.text)

    def warmup_request(self, longest: bool) -> TtsRequest:
        words = "this is how I sound " * (self.longest // 20 + 1 if longest else 1)
        return TtsRequest(text=words[: self.longest].strip())

    def free_memory(self) -> None:
        free_cache(self.device)

    def _folders(self) -> list[Path]:
        """Where the engine's models lie, in the order of `voxqueue.models`; fetched first if the settings allow that.

        Raises:
            EngineUnusable: One is missing, or what runs them is.
        """
        require("transformers", "models")
        return [
            models.provide(model, self.settings.models, partial(self.on_progress, f"fetching {model.name}"))
            for model in models.engine_models(self.settings, self.name)
        ]

    def _choose(self, request: TtsRequest) -> tuple[str, str]:
        """The voice and the language. Raises `EngineRefused` where it has no such voice or language."""
        voices = self.voices()
        asked = request.voice.lower() if request.voice else self.default_voice
        if request.language is not None:
            language = self._spoken_language(request.language)
        else:
            known = (voice.language for voice in voices if voice.name == asked)
            language = next(known, None) or self.languages[0]
        names = [voice.name for voice in voices if voice.language in (None, language)]
        if asked is None:
            return names[0], language
        if asked not in names:
            have = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
            raise EngineRefused(f"{self.name} has no voice {asked!r} for {language!r}; its voices are {have}.")
        return asked, language

    def _spoken_language(self, tag: str) -> str:
        language = find_language(tag)
        if language not in self.languages:
            raise EngineRefused(
                f"{self.name} does not speak {tag!r}; what it speaks: {', '.join(self.languages)}. Send something in "
                "one of these. An operator may name an engine for that language in VOXQUEUE_TTS_ENGINES."
            )
        return str(language)

    def _sentences(self, text: str, language: str, ask: Ask[Piece, Spoken]) -> list[Sentence]:
        """The sentences in which there is something to say. Raises `EngineRefused` where there is none."""
        sentences = split_sentences(text, language, self.longest)
        known = [sentence for sentence in sentences if self.can_speak(sentence.text, language)]
        if not known:
            raise self._nothing_to_say()
        left_out = sum(any(map(str.isalnum, sentence.text)) for sentence in sentences if sentence not in known)
        if left_out:
            ask.degrade(
                f"{self.name} left out sentences in which it knows no character: {left_out} of {len(sentences)}"
            )
        return known

    def _nothing_to_say(self) -> EngineRefused:
        return EngineRefused(f"There is nothing in this text that {self.name} could say. Send words in its language.")


@contextmanager
def loading(model: str, settings: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes one line that names the model and the settings that choose it.

    Raises:
        EngineUnusable: Something went wrong.
    """
    try:
        yield
    except VoxqueueError:
        raise
    except Exception as error:  # what is not right in somebody's files shows anywhere
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise EngineUnusable(
            f"{model} cannot be loaded ({reason}). Fetch it again, or name another in {settings}."
        ) from None


def known_language(tag: str, setting: str) -> str:
    """The code of a language that a setting names. Raises `EngineUnusable` where that is none."""
    language = find_language(tag)
    if language is None:
        raise EngineUnusable(f"{setting} names {tag!r}, which is no language; write codes such as en or de.")
    return language


def without_marks(text: str, marks: Sequence[str]) -> str:
    """The text without what a tokenizer would take for a mark of its prompt."""
    for mark in marks:
        text = text.replace(mark, " ")
    return text


def join(spoken: Iterable[Samples], pauses: Sequence[float], sample_rate: int) -> Samples:
    """Put pieces of speech one after another, shape ``[n]``.

    Args:
        pauses: Seconds of silence after each piece; that after the last is left out.
    """
    parts: list[Samples] = []
    for samples, pause_s in zip(spoken, pauses, strict=True):
        parts += [samples, np.zeros(round(pause_s * sample_rate), np.float32)]
    return np.concatenate(parts[:-1])
