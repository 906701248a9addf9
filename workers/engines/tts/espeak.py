"""Text to speech by espeak-ng, whose library and voices lie in a wheel, so that nothing has to be downloaded.

The C library is one synthesiser for the whole process and not safe for threads: everything goes through one lock.
"""

import ctypes
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from voxqueue.errors import EngineFailed, EngineRefused, EngineUnusable, VoxqueueError
from voxqueue.extras import require
from voxqueue.languages import find_language
from voxqueue.stages import TtsRequest, TtsResult
from workers.engines.base import Ask, Voice, WholeTtsEngine

DEFAULT_VOICE = "en-us"
WORDS_PER_MINUTE = 160

# 10,000 characters of prose take about 12 minutes. Digits and emoji are spoken as words and can take far longer.
_MOST_SECONDS = 1_800

# What the library's header calls these numbers.
_OUTPUT_SYNCHRONOUS, _DONT_EXIT, _UTF8, _BY_CHARACTER = 2, 0x8000, 1, 1
_RATE, _VOLUME = 1, 2

_HEARD = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Voice(ctypes.Structure):
    """``espeak_VOICE`` of speak_lib.h."""

    _fields_: ClassVar = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),  # (priority byte, zero-ended code) again and again, ended by a zero byte
        ("identifier", ctypes.c_char_p),
        ("traits", ctypes.c_ubyte * 4),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


class Espeak:
    """The process's one espeak-ng. Use `espeak()` to get it.

    Attributes:
        sample_rate: Samples per second of what it speaks.
        voices: Language code -> the voice that speaks it best.
        variants: What may follow a voice after ``+``, such as ``f3``, in lower case -> as the library calls it.
    """

    def __init__(self) -> None:
        import espeakng_loader

        data = Path(espeakng_loader.get_data_path())
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._declare()
        self.sample_rate = self._library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, str(data).encode(), _DONT_EXIT)
        if self.sample_rate <= 0:
            raise EngineUnusable(f"espeak-ng does not start with the voices in {data}.")
        self._lock = threading.Lock()
        self._heard: list[bytes] = []
        self._room = 0  # samples that this text may still take
        self._callback = _HEARD(self._hear)  # the library keeps its address: it must live as long as we do
        self._library.espeak_SetSynthCallback(self._callback)
        self.voices = self._list_voices()
        self.variants = {file.name.lower(): file.name for file in sorted((data / "voices" / "!v").iterdir())}

    def speak(
        self, text: str, voice: str, words_per_minute: int, most_seconds: float
    ) -> npt.NDArray[np.float32] | None:
        """Speak a text of any length.

        Args:
            voice: A key of `voices`, or one followed by ``+`` and one of `variants`.

        Returns:
            Float32 samples in [-1, 1], or None where it would take longer than ``most_seconds``.

        Raises:
            EngineFailed: The library reported an error.
        """
        code, plus, variant = voice.partition("+")
        name = self.voices[code] + (f"+{self.variants[variant]}" if plus else "")
        written = text.replace("\0", " ").encode("utf-8", "replace") + b"\0"
        with self._lock:
            self._heard, self._room = [], round(most_seconds * self.sample_rate)
            if self._library.espeak_SetVoiceByName(name.encode()) != 0:
                raise EngineFailed(f"espeak-ng could not load its voice {voice!r}.")
            self._library.espeak_SetParameter(_RATE, words_per_minute, 0)
            self._library.espeak_SetParameter(_VOLUME, 100, 0)
            if self._library.espeak_Synth(written, len(written), 0, _BY_CHARACTER, 0, _UTF8, None, None) != 0:
                raise EngineFailed("espeak-ng failed on this text.")
            if self._room < 0:
                return None
            return np.frombuffer(b"".join(self._heard), "<i2").astype(np.float32) / np.float32(32_768)

    def _hear(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int | None) -> int:
        """Take the next piece; a result other than 0 stops the synthesis."""
        if samples and count > 0:
            self._room -= count
            self._heard.append(ctypes.string_at(samples, count * 2))
        return int(self._room < 0)

    def _declare(self) -> None:
        c, lib = ctypes, self._library
        lib.espeak_Initialize.argtypes = [c.c_int, c.c_int, c.c_char_p, c.c_int]
        lib.espeak_SetSynthCallback.argtypes = [_HEARD]
        lib.espeak_SetSynthCallback.restype = None
        lib.espeak_SetVoiceByName.argtypes = [c.c_char_p]
        lib.espeak_SetParameter.argtypes = [c.c_int, c.c_int, c.c_int]
        lib.espeak_Synth.argtypes = [
            *(c.c_char_p, c.c_size_t, c.c_uint, c.c_int, c.c_uint, c.c_uint),
            *(c.POINTER(c.c_uint), c.c_void_p),
        ]
        lib.espeak_ListVoices.argtypes = [c.c_void_p]
        lib.espeak_ListVoices.restype = c.POINTER(c.POINTER(_Voice))

    def _list_voices(self) -> dict[str, str]:
        best: dict[str, tuple[int, str]] = {}
        for pointer in self._library.espeak_ListVoices(None):
            if not pointer:
                break
            identifier = pointer.contents.identifier.decode()
            for priority, code in _languages(pointer.contents.languages):
                best[code] = min(best.get(code, (priority, identifier)), (priority, identifier))
        return {code: identifier for code, (_, identifier) in sorted(best.items())}


def _languages(address: int) -> list[tuple[int, str]]:
    found = []
    while priority := ctypes.string_at(address, 1)[0]:
        code = ctypes.string_at(address + 1)
        found.append((priority, code.decode().lower()))
        address += len(code) + 2
    return found


_only: Espeak | None = None
_making = threading.Lock()


def espeak() -> Espeak:
    """This process's espeak-ng, started on first use. It stays: stopping the library gives back a few megabytes only.

    Raises:
        EngineUnusable: The wheel is not installed, or its library does not start.
    """
    global _only  # noqa: PLW0603 - the C library is as global as this
    require("espeakng_loader", "embedded", "espeak-ng")
    with _making:
        if _only is None:
            try:
                _only = Espeak()
            except OSError as error:
                raise EngineUnusable(f"The espeak-ng library does not load: {error}") from error
        return _only


class EspeakEngine(WholeTtsEngine):
    """A formant synthesiser: understandable in a hundred languages, and fast."""

    name = "espeak"
    stand_in = "espeak-ng builds speech from formants and sounds like a machine."
    _espeak: Espeak | None = None

    def load(self) -> None:
        self._espeak = espeak()
        self.model = "espeak-ng"

    def voices(self) -> Sequence[Voice]:
        known = self._espeak.voices if self._espeak else ()
        return [Voice(code, _language_of(code)) for code in known]

    def variants(self) -> Sequence[str]:
        return list(self._espeak.variants) if self._espeak else []

    def answer(self, request: TtsRequest, ask: Ask[TtsRequest, TtsResult]) -> TtsResult:
        spoken = _language_of(request.voice.lower().partition("+")[0]) if request.voice else None
        if spoken is not None and request.language is not None and spoken != _language_of(request.language):
            ask.degrade(f"espeak reads {request.language!r} with the voice {request.voice!r}, which is for {spoken!r}")
        return super().answer(request, ask)

    def run(self, batch: Sequence[TtsRequest]) -> Sequence[TtsResult | VoxqueueError]:
        if self._espeak is None:
            raise EngineFailed("espeak was called before it was loaded.")
        return [_speak(self._espeak, request) for request in batch]

    def close(self) -> None:
        self._espeak = None


def _language_of(code: str) -> str:
    return find_language(code) or code.partition("-")[0]


def _speak(synthesiser: Espeak, request: TtsRequest) -> TtsResult | VoxqueueError:
    voice = _choose_voice(synthesiser, request)
    if isinstance(voice, VoxqueueError):
        return voice
    try:
        samples = synthesiser.speak(request.text, voice, WORDS_PER_MINUTE, _MOST_SECONDS)
    except EngineFailed as error:
        return error
    if samples is None:
        return EngineRefused(f"Speaking this text would take more than {_MOST_SECONDS // 60} minutes. Shorten it.")
    if not samples.any():
        return EngineRefused("There is nothing in this text that can be spoken.")
    return TtsResult(samples=samples, sample_rate=synthesiser.sample_rate)


def _choose_voice(synthesiser: Espeak, request: TtsRequest) -> str | EngineRefused:
    """The voice that was asked for, else the language's, else American English."""
    examples = "en-us, en-gb, de, es, fr, it, pt-br"
    if request.voice is not None:
        code, plus, variant = request.voice.lower().partition("+")
        if code in synthesiser.voices and (not plus or variant in synthesiser.variants):
            return request.voice.lower()
        return EngineRefused(
            f"espeak has no voice {request.voice!r}. Its voices are called by language, such as {examples}; "
            "a variant may follow, such as en-us+f3."
        )
    if request.language is None:
        return DEFAULT_VOICE
    language = request.language.lower().replace("_", "-")
    for code in (language, language.partition("-")[0]):
        if code == "en":
            return DEFAULT_VOICE
        if code in synthesiser.voices:
            return code
    return EngineRefused(
        f"espeak does not speak {request.language!r}. Send something in a language that it speaks, such as {examples}. "
        "An operator may name an engine for that language in VOXQUEUE_TTS_ENGINES."
    )
