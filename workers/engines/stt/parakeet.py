"""Speech to text by NVIDIA's Parakeet on transformers, with windows of many people's notes in one model call.

A note's own thread finds the speech, cuts windows and computes their spectra; the model call takes windows of whatever
notes are there. This must not know how a Parakeet decodes.
"""

from collections.abc import Sequence
from functools import partial
from itertools import chain

from voxqueue import models
from voxqueue.errors import EngineFailed, EngineRefused, EngineUnusable, VoxqueueError
from voxqueue.extras import require
from voxqueue.settings import Settings
from voxqueue.stages import SttRequest, SttResult, Task
from workers.engines.base import Ask, SttEngine
from workers.engines.device import free_cache, pick_device, pick_dtype
from workers.engines.stt.babble import babble
from workers.engines.stt.parakeet_decoder import Heard, ParakeetDecoder, Piece
from workers.engines.stt.parakeet_text import average_log_probability, segments
from workers.engines.stt.windows import LONGEST_S, Windows

# No file of a model says what it speaks. All of NVIDIA's that transformers can load are English but this one.
_MULTILINGUAL = "parakeet-tdt-0.6b-v3"
_ITS_LANGUAGES = (  # as its model card has them
    *("bg", "cs", "da", "de", "el", "en", "es", "et", "fi", "fr", "hr", "hu", "it"),
    *("lt", "lv", "mt", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "uk"),
)


class ParakeetEngine(SttEngine[Piece, Heard]):
    """A Parakeet with a CTC or a TDT decoder, in the format of transformers. It does not tell languages apart."""

    name = "parakeet"
    ignores = ("prompt", "hotwords")
    takes_all_cores = True
    _decoder: ParakeetDecoder | None = None

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._languages: tuple[str, ...] = ()

    # --- loading ------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        require("transformers", "models")
        require("faster_whisper", "models")  # which brings the voice detector
        self.close()
        self.device = pick_device(self.settings.models)
        dtype = pick_dtype(self.settings.models, self.device)
        [model] = models.engine_models(self.settings, self.name)
        folder = models.provide(model, self.settings.models, partial(self.on_progress, f"fetching {model.name}"))
        try:
            self._decoder = ParakeetDecoder(folder, self.device, dtype)
        except Exception as error:
            detail = f"parakeet cannot load {model.name}: {type(error).__name__}: {error}"[:300]
            raise EngineUnusable(f"{detail}. Name a Parakeet CTC or TDT model in VOXQUEUE_PARAKEET_MODEL.") from None
        self.model, self.dtype = model.repo or folder.name, str(dtype).removeprefix("torch.")
        self._languages = self.settings.parakeet.languages or _languages_of(self.model)

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder = None
            self.free_memory()

    def free_memory(self) -> None:
        free_cache(self.device)

    def warmup_request(self, longest: bool) -> SttRequest:
        # The voice detector never makes more than 29 s of one stretch.
        return SttRequest(audio=[babble(LONGEST_S - 1 if longest else 1)])

    def cost(self, piece: Piece) -> float:
        return piece.clock.seconds

    # --- in the thread of a note --------------------------------------------------------------------------------------

    def answer(self, request: SttRequest, ask: Ask[Piece, Heard]) -> SttResult:
        decoder, language = self._loaded, self._check(request)
        windows = Windows(request.audio)
        heard: list[Heard] = []
        pieces = ask.prepared(Piece(decoder.features(window.samples), window.clock) for window in windows)
        for one in ask(pieces):
            heard.append(one)
            if request.duration:
                ask.progress(one.clock.end / request.duration)
        return _result(heard, windows, language, with_words=request.word_timestamps)

    def _check(self, request: SttRequest) -> str | None:
        """The language that will be spoken, as far as that is known. Raises `EngineRefused`."""
        if request.task is Task.TRANSLATE:
            raise EngineRefused(
                "parakeet cannot translate. Send the note without `task`, for its transcript alone. An operator may "
                "name an engine that translates, such as faster_whisper, in VOXQUEUE_STT_ENGINES."
            )
        if request.language is None:
            return self._languages[0] if len(self._languages) == 1 else None
        if request.language not in self._languages:
            raise EngineRefused(
                f"The Parakeet model {self.model} does not know the language {request.language!r}: it knows "
                f"{', '.join(self._languages)}. Send a note in one of these. An operator may name a model or an engine "
                "for that language in VOXQUEUE_PARAKEET_MODEL or VOXQUEUE_STT_ENGINES."
            )
        return request.language

    # --- in a model call ----------------------------------------------------------------------------------------------

    def run(self, batch: Sequence[Piece]) -> Sequence[Heard | VoxqueueError]:
        return self._loaded.hear(batch) if batch else []

    @property
    def _loaded(self) -> ParakeetDecoder:
        if self._decoder is None:
            raise EngineFailed("parakeet was called before it was loaded.")
        return self._decoder


def _languages_of(model: str) -> tuple[str, ...]:
    return _ITS_LANGUAGES if _MULTILINGUAL in model.lower() else ("en",)


def _result(heard: Sequence[Heard], windows: Windows, language: str | None, *, with_words: bool) -> SttResult:
    found = tuple(chain.from_iterable(segments(one.spoken, with_words=with_words) for one in heard))
    return SttResult(
        text=" ".join(segment.text for segment in found),
        language=language,
        audio_seconds=windows.seconds,
        speech_seconds=round(windows.speech_seconds, 3),
        segments=found,
        average_log_probability=average_log_probability([one for part in heard for one in part.spoken]),
    )
