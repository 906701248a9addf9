"""Speech to text by Whisper on CTranslate2, with windows of many people's notes in one model call.

A note's own thread finds the speech, cuts windows and computes their spectra; the model call takes windows of whatever
notes are there, in mixed languages, and judges each by itself.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain, islice

import numpy as np

from voxqueue import machine, models
from voxqueue.errors import EngineFailed, EngineRefused, EngineUnusable, VoxqueueError
from voxqueue.extras import require
from voxqueue.settings import Settings
from voxqueue.stages import SttRequest, SttResult, Task
from workers.engines.base import Ask, SttEngine
from workers.engines.stt.babble import babble
from workers.engines.stt.whisper_decoder import FRAMES, MOST_TOKENS, Array, Heard, Piece, WhisperDecoder
from workers.engines.stt.windows import LONGEST_S, Window, Windows

_DETECTED_ON = 4  # windows at the beginning of a long note that vote on its language

# Whisper's own words for what the standard calls otherwise.
_WHISPER_CODES = {"jv": "jw"}
_STANDARD_CODES = {theirs: ours for ours, theirs in _WHISPER_CODES.items()}

_PROMPT_TOKENS = MOST_TOKENS - 10  # and some room for the marks around them

# Their vocabularies are multilingual, and yet they were trained on English alone, or not to translate.
_ENGLISH_ONLY = {repo for size, repo in models.WHISPER_SIZES.items() if size.startswith("distil-")}
_NO_TRANSLATORS = {repo for size, repo in models.WHISPER_SIZES.items() if "turbo" in size}


class FasterWhisperEngine(SttEngine[Piece, Heard]):
    """Any Whisper in CTranslate2's format, from tiny to large-v3-turbo and distilled ones."""

    name = "faster_whisper"
    takes_all_cores = True
    _decoder: WhisperDecoder | None = None

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._own = settings.whisper
        self._repo: str | None = None  # where the model lies on the hub, if it is one of the hub
        self._workers: ThreadPoolExecutor | None = None
        self._calls = 1

    # --- loading ------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        require("faster_whisper", "models")
        [model] = models.engine_models(self.settings, self.name)
        folder = models.provide(model, self.settings.models, partial(self.on_progress, f"fetching {model.name}"))
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # of onnxruntime, which finds the speech
        import ctranslate2
        from faster_whisper import WhisperModel

        self.close()
        self.device, self.dtype = _device(self.settings)
        threads, workers = _share_cores(self._own.threads) if self.device == "cpu" else (1, 1)
        try:
            whisper = WhisperModel(
                str(folder),
                device=self.device.partition(":")[0],
                compute_type=self.dtype,
                cpu_threads=threads,
                num_workers=workers,
                local_files_only=True,
            )
        except (ValueError, RuntimeError, OSError) as error:
            raise EngineUnusable(f"faster_whisper cannot load {folder}: {error}") from error
        ctranslate2.set_random_seed(0)  # a window that needs a higher temperature says the same when it is run again
        self.model, self._repo = self._own.model, model.repo
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="whisper")
        self._calls = workers
        self._decoder = WhisperDecoder(whisper, self._own)

    def close(self) -> None:
        if self._workers is not None:
            self._workers.shutdown(wait=False, cancel_futures=True)
            self._workers = None
        if self._decoder is not None:
            self._decoder.whisper.model.unload_model()
            self._decoder = None

    def warmup_request(self, longest: bool) -> SttRequest:
        # The voice detector never makes more than 29 s of one stretch.
        return SttRequest(audio=[babble(LONGEST_S - 1 if longest else 1)])

    def cost(self, piece: Piece) -> float:
        if self._own.short_windows:
            return piece.clock.seconds
        return LONGEST_S - 1 + piece.clock.seconds / LONGEST_S  # a whole window, and nearest in length first

    # --- in the thread of a note --------------------------------------------------------------------------------------

    def answer(self, request: SttRequest, ask: Ask[Piece, Heard]) -> SttResult:
        language = self._check(request)
        windows = Windows(request.audio)
        pieces = ask.prepared(self._pieces(request, windows, language, self._prompt(request, ask)))
        detected: dict[str, float] = {}
        if language is None:
            first = list(islice(pieces, _DETECTED_ON))
            if len(first) > 1:
                detected, first = self._agree(first, ask)
                language = max(detected, key=lambda code: detected[code])
            rest = (replace(piece, language=language) for piece in pieces)
            pieces = chain(first, rest)
            del first  # with what the encoder made of them
        heard: list[Heard] = []
        for one in ask(pieces):
            heard.append(one)
            if request.duration:
                ask.progress(one.clock.end / request.duration)
        detected = detected or (heard[0].language_probabilities if heard else {})
        return _result(heard, windows, language or (heard[0].language if heard else None), detected)

    def _check(self, request: SttRequest) -> str | None:
        """The language in the model's word, or None to find out. Raises `EngineRefused`."""
        multilingual = self._loaded.whisper.model.is_multilingual and self._repo not in _ENGLISH_ONLY
        if request.task is Task.TRANSLATE and (not multilingual or self._repo in _NO_TRANSLATORS):
            raise EngineRefused(
                f"The Whisper model {self.model} cannot translate. Send the note without `task`, for its transcript "
                "alone. An operator may name a model that translates in VOXQUEUE_WHISPER_MODEL."
            )
        if request.language is None:
            return None if multilingual else "en"
        code = _WHISPER_CODES.get(request.language, request.language)
        if not (self._loaded.whisper.hf_tokenizer.token_to_id(f"<|{code}|>") if multilingual else code == "en"):
            raise EngineRefused(
                f"The Whisper model {self.model} does not know the language {request.language!r}. Send a note in "
                "another. An operator may name a model that knows it in VOXQUEUE_WHISPER_MODEL."
            )
        return code

    def _pieces(
        self, request: SttRequest, windows: Windows, language: str | None, prompt: tuple[int, ...]
    ) -> Iterator[Piece]:
        for window in windows:
            yield Piece(
                features=self.features(window),
                clock=window.clock,
                language=language,
                task=request.task,
                prompt=prompt,
                words=request.word_timestamps,
            )

    def features(self, window: Window) -> Array:
        """The log-mel spectrum of a window, ``[n_mels, frames]`` with a frame for each 10 ms."""
        features: Array = self._loaded.whisper.feature_extractor(window.samples)[..., :-1][..., :FRAMES].astype(
            np.float32
        )
        return features

    def _prompt(self, request: SttRequest, ask: Ask[Piece, Heard]) -> tuple[int, ...]:
        """What stands before the transcript: hotwords, then the prompt, as if they had been said before."""
        texts = [text.strip() for text in (request.hotwords, request.prompt) if text and text.strip()]
        if not texts:
            return ()
        tokenizer = self._loaded.whisper.hf_tokenizer
        encoded = (tokenizer.encode(" " + text, add_special_tokens=False).ids for text in texts)
        tokens = list(chain.from_iterable(encoded))
        if len(tokens) > _PROMPT_TOKENS:
            read = f"the last {_PROMPT_TOKENS} of {len(tokens)} tokens"
            ask.degrade(f"{self.name} read only {read} of hotwords and prompt")
        return (tokenizer.token_to_id("<|startofprev|>"), *tokens[-_PROMPT_TOKENS:])

    def _agree(self, first: list[Piece], ask: Ask[Piece, Heard]) -> tuple[dict[str, float], list[Piece]]:
        """The language of a long note, by the windows at its beginning: each votes with its seconds of speech."""
        votes: dict[str, float] = {}
        heard = list(ask([replace(piece, only_language=True) for piece in first]))
        seconds = sum(one.clock.seconds for one in heard)
        for one in heard:
            for code, probability in one.language_probabilities.items():
                votes[code] = votes.get(code, 0.0) + probability * one.clock.seconds / seconds
        language = max(votes, key=lambda code: votes[code])
        encoded = [
            replace(piece, language=language, encoded=one.encoded) for piece, one in zip(first, heard, strict=True)
        ]
        return votes, encoded

    # --- in a model call ----------------------------------------------------------------------------------------------

    def run(self, batch: Sequence[Piece]) -> Sequence[Heard | VoxqueueError]:
        """Deal the batch to the model's workers. A GPU has one; on a CPU each has its own cores, as one call with all
        cores spends much of its time on threads that wait for each other."""
        decoder, workers = self._loaded, self._workers
        assert workers is not None
        share = -(-len(batch) // self._calls)
        shares = [batch[start : start + share] for start in range(0, len(batch), share)]
        return list(chain.from_iterable(workers.map(decoder.hear, shares)))

    @property
    def _loaded(self) -> WhisperDecoder:
        if self._decoder is None:
            raise EngineFailed("faster_whisper was called before it was loaded.")
        return self._decoder


def _device(settings: Settings) -> tuple[str, str]:
    """Where CTranslate2 runs, and in which precision; it knows CUDA and CPUs only."""
    import ctranslate2

    wanted = settings.models.device
    cuda = ctranslate2.get_cuda_device_count() > 0
    if wanted == "cuda" and not cuda:
        raise EngineUnusable("faster_whisper finds no CUDA device. Set VOXQUEUE_MODELS_DEVICE=cpu, or mend the driver.")
    device = "cuda:0" if cuda and wanted in ("auto", "cuda") else "cpu"
    dtype = settings.models.dtype
    if dtype == "auto":
        dtype = "int8" if device == "cpu" else "float16"
    supported = ctranslate2.get_supported_compute_types(device.partition(":")[0])
    if dtype not in supported:
        raise EngineUnusable(
            f"faster_whisper cannot compute in {dtype} on {device}. VOXQUEUE_MODELS_DTYPE may be auto, "
            f"{', '.join(sorted(supported))}."
        )
    return device, dtype


def _share_cores(threads: int) -> tuple[int, int]:
    """Threads of one model call on a CPU, and how many calls run side by side."""
    cores = machine.cores()
    threads = threads or (1 if cores < 4 else 2 if cores < 8 else 4)
    return threads, max(1, cores // threads)


def _result(
    heard: Sequence[Heard], windows: Windows, language: str | None, probabilities: dict[str, float]
) -> SttResult:
    segments = tuple(chain.from_iterable(one.segments for one in heard))
    tokens = sum(one.tokens for one in heard)
    probability = probabilities.get(language or "")
    return SttResult(
        text=" ".join(segment.text for segment in segments),
        language=_STANDARD_CODES.get(language or "", language),
        language_probability=None if probability is None else round(probability, 4),
        audio_seconds=windows.seconds,
        speech_seconds=round(windows.speech_seconds, 3),
        segments=segments,
        average_log_probability=(
            round(sum(one.log_probability * one.tokens for one in heard) / tokens, 4) if tokens else None
        ),
    )
