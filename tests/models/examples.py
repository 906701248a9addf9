"""What the tiny Whisper learns from: windows of speech as notes hold it, and the rows of tokens that fit them.

Speech is coded, cut, joined, made softer and noisy in many ways. This must not know the model.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tests.models.sentences import ENGLISH, GERMAN, SENTENCES, Sentence, speak
from tests.models.vocabulary import Vocabulary
from voxqueue.audio import AudioFormat, decode, encode
from voxqueue.stages import SAMPLE_RATE, Samples
from workers.engines.tts.espeak import WORDS_PER_MINUTE, espeak

WINDOW_S = 30.0
Random = np.random.Generator
Band = tuple[float, float]
"""From and to in seconds of the window: where a token is heard."""


@dataclass(frozen=True)
class Rendering:
    """A sentence as it was said once. ``words`` are the ends of its words as shares of its length."""

    sentence: Sentence
    samples: Samples
    words: tuple[float, ...]


@dataclass(frozen=True)
class Placed:
    """A rendering in a window: its start and end in seconds. The end may lie past the window's."""

    sentence: Sentence
    words: tuple[float, ...]
    start: float
    end: float

    @property
    def bands(self) -> list[Band]:
        return list(pairwise(self.start + share * (self.end - self.start) for share in (0.0, *self.words)))


@dataclass(frozen=True)
class Window:
    """At most 30 s of a note, in one language, and what is said in it: nothing where it is noise, tones or silence."""

    samples: Samples
    placed: tuple[Placed, ...]
    language: str


@dataclass(frozen=True)
class Row:
    """What the decoder reads, and at each place what it should say next (-1: anything) and where that is heard."""

    read: list[int]
    say: list[int]
    bands: list[Band | None]


def render(speeds: range) -> list[Rendering]:
    """Every sentence at every speed (words per minute), as espeak-ng gives it and through two lossy codecs."""
    made = []
    for sentence in SENTENCES:
        words = _word_ends(sentence)
        for speed in speeds:
            clean = speak(sentence, speed)
            made += [Rendering(sentence, clean, words)]
            for coded in (AudioFormat.OGG, AudioFormat.MP3):
                heard = decode(encode(clean, SAMPLE_RATE, coded), max_seconds=30)
                made += [Rendering(sentence, heard, words)]
    return made


def _word_ends(sentence: Sentence) -> tuple[float, ...]:
    """From how long each word takes by itself. espeak-ng could tell, but our binding of it does not ask."""
    alone = [_seconds(word, sentence.voice) for word in sentence.text.split()]
    return tuple(float(share) for share in np.cumsum(alone) / sum(alone))


def _seconds(word: str, voice: str) -> float:
    samples = espeak().speak(word.strip(".?"), voice, WORDS_PER_MINUTE, most_seconds=30)
    assert samples is not None
    return float(np.count_nonzero(np.abs(samples) > 0.01))


def make_window(random: Random, renderings: list[Rendering], most_sentences: int) -> Window:
    """One to ``most_sentences`` sentences of one language with pauses between them or none, cut off at 30 s."""
    language = "en" if random.random() < 0.6 else "de"
    known = [rendering for rendering in renderings if rendering.sentence.language == language]
    pauses = random.choice([0.0, 0.25, 1.2])
    parts, placed = [_silence(random.uniform(0, 0.6))], []
    most = most_sentences if random.random() < 0.5 else min(most_sentences, 3)  # few are what notes mostly hold
    for _ in range(random.integers(1, most + 1)):
        rendering = known[random.integers(len(known))]
        spoken = _clip(random, rendering.samples)
        start = sum(map(len, parts)) / SAMPLE_RATE
        placed.append(Placed(rendering.sentence, rendering.words, start, start + len(spoken) / SAMPLE_RATE))
        parts += [spoken, _silence(random.uniform(0, pauses))]
        if placed[-1].end > WINDOW_S:
            break
    samples = np.concatenate([*parts, _silence(random.choice([0.0, 0.1, 0.6]) * random.random())])
    whole = round(WINDOW_S * SAMPLE_RATE)
    return Window(_spoil(random, samples[:whole]), tuple(placed), language)


def make_silence(random: Random) -> Window:
    """A window in which nobody speaks."""
    length = round(random.uniform(0.3, 6) * SAMPLE_RATE)
    time = np.arange(length) / SAMPLE_RATE
    kind = random.integers(5)
    if kind == 0:
        samples = np.zeros(length)
    elif kind == 1:
        samples = random.normal(size=length)
    elif kind == 2:
        samples = np.cumsum(random.normal(size=length))
        samples -= np.convolve(samples, np.ones(400) / 400, "same")
    else:
        pitches = random.uniform(80, 3000, size=1 if kind == 3 else random.integers(2, 6))
        samples = sum(np.sin(2 * np.pi * pitch * time) for pitch in pitches) + random.normal(size=length) * 0.003
    level = 10 ** random.uniform(-3.5, -0.5) / max(float(np.abs(samples).max()), 1e-9)
    return Window((samples * level).astype(np.float32), (), str(random.choice(["en", "de"])))


def _silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def _clip(random: Random, samples: Samples) -> Samples:
    """As a search for speech may cut it: up to 80 ms too tight."""
    front, back = (round(random.choice([0, 1]) * random.uniform(0, 0.08) * SAMPLE_RATE) for _ in range(2))
    return samples[front : len(samples) - back]


def _spoil(random: Random, samples: Samples) -> Samples:
    """Another level (-15 to +12 dB, clipped) and now and then noise, 15 to 55 dB below the speech."""
    loud = samples * 10 ** (random.uniform(-15, 12) / 20)
    if random.random() < 0.6:
        level = np.sqrt(np.mean(loud**2)) * 10 ** (-random.uniform(15, 55) / 20)
        loud = loud + random.normal(size=len(loud)) * level
    return np.asarray(np.clip(loud, -1, 1), np.float32)


def make_row(random: Random, vocabulary: Vocabulary, window: Window, longest_prompt: int) -> Row:
    """One of the many rows that are right for a window: task, timestamps and prompt are drawn by lot."""
    v = vocabulary
    cut = bool(window.placed) and window.placed[-1].end > WINDOW_S
    translate = random.random() < (0.4 if window.language == "de" else 0.1)
    timed = cut or random.random() < 0.5
    prompt = _prompt(random, v, longest_prompt) if random.random() < 0.15 else []
    tokens: list[int] = [*prompt, v.id("<|startoftranscript|>"), v.id(f"<|{window.language}|>")]
    tokens += [v.id("<|translate|>" if translate else "<|transcribe|>")]
    bands: list[Band | None] = [None] * len(tokens)
    if not timed:
        tokens.append(v.id("<|notimestamps|>"))
        bands.append(None)
    said = _nothing(random, v) if not window.placed else _said(v, window, translate)
    said = [(token, band) for token, band in said if timed or token < v.first_timestamp]
    tokens += [token for token, _ in said]
    bands += [band for _, band in said]
    first = v.id(f"<|{window.language}|>" if window.placed else "<|nospeech|>")
    # Whoever asks gives the task and whether there shall be times: the model need not guess what was drawn.
    given = [first, -1] if timed else [first, -1, -1]
    say = [*[-1] * len(prompt), *given, *tokens[len(prompt) + len(given) + 1 :]]
    return Row(tokens[:-1], say, bands[1:])


def _said(v: Vocabulary, window: Window, translate: bool) -> list[tuple[int, Band | None]]:
    """What Whisper says of a window: of a sentence that goes on in the next window only when it starts."""
    said: list[tuple[int, Band | None]] = []
    end = 0.0
    for placed in window.placed:
        said.append((v.time(placed.start), (placed.start, placed.start)))
        if placed.end > WINDOW_S:
            break
        said += _translation(v, placed) if translate else _transcript(v, placed)
        end = placed.end
        said.append((v.time(end), (end, end)))
    return [*said, (v.id("<|endoftext|>"), (end, end))]


def _transcript(v: Vocabulary, placed: Placed) -> list[tuple[int, Band | None]]:
    words = [v.text(word) for word in placed.sentence.text.split()]
    return [(token, band) for word, band in zip(words, placed.bands, strict=True) for token in word]


def _translation(v: Vocabulary, placed: Placed) -> list[tuple[int, Band | None]]:
    return [(token, (placed.start, placed.end)) for token in v.text(placed.sentence.english)]


def _nothing(random: Random, v: Vocabulary) -> list[tuple[int, Band | None]]:
    """Random words: whoever asks nevertheless is told so with a low probability, as Whisper's guards expect."""
    words = [
        v.text(str(random.choice(_some_sentence(random).english.split())))[0] for _ in range(random.integers(1, 4))
    ]
    times = [v.time(0), *words, v.time(random.uniform(0.5, 5)), v.id("<|endoftext|>")]
    return [(token, None) for token in times]


def _prompt(random: Random, v: Vocabulary, longest: int) -> list[int]:
    """What came before: known sentences with or without their times, or names that the model never heard."""
    tokens = [v.id("<|startofprev|>")]
    at = 0.0
    for _ in range(random.choice([1, 1, 1, 2, 3, 10])):
        words = v.text(_some_sentence(random).text)
        kind = random.integers(3)
        if kind == 0:
            words = [v.time(at), *words, v.time(at + 2.0)]
        elif kind == 1:
            words = v.text("".join(chr(random.integers(97, 123)) for _ in range(random.integers(3, 30))))
        tokens += words
        at += 2.0
    return tokens[: random.integers(2, longest)]


def _some_sentence(random: Random) -> Sentence:
    return (ENGLISH + GERMAN)[random.integers(len(SENTENCES))]
