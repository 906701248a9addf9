"""The sentences that the tiny Whisper of the tests understands, and a voice that says them. It knows no others."""

from dataclasses import dataclass
from pathlib import Path

from voxqueue.audio import AudioFormat, decode, encode
from voxqueue.stages import Samples
from workers.engines.tts.espeak import WORDS_PER_MINUTE, espeak

WHISPER = Path(__file__).parent / "whisper"
"""The model's folder, as faster-whisper and CTranslate2 load it.

It hears one to three sentences in a window. Of more it gets the later ones wrong, and with a beam of five and no
timestamps now and then a single one too: ask for one beam, or for timestamps.
"""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence as the model writes it, its language ("en" or "de"), and what the translate task makes of it."""

    text: str
    language: str
    english: str

    @property
    def voice(self) -> str:
        return {"en": "en-us", "de": "de"}[self.language]


_ENGLISH_TEXTS = (
    "The blue kettle boils at seven.",
    "Please call my brother tomorrow morning.",
    "Nobody saw the little fox.",
    "We bought nine fresh lemons.",
    "Her train leaves from platform four.",
    "It rained all night in Boston.",
    "Can you water the plants on Friday?",
    "This window does not open.",
    "Our teacher plays the violin very well.",
    "The old bridge is closed for repairs.",
    "I forgot my keys at the office.",
    "Seven swans crossed the frozen lake.",
    "Turn left after the yellow church.",
    "My sister wants a purple bicycle.",
    "Dinner will be ready in twenty minutes.",
    "That joke made everybody laugh.",
    "Send the invoice to the new customer.",
    "A small boat drifted out to sea.",
    "Doctor Miller moved our appointment to Monday afternoon.",
    "Pack warm socks and a good book.",
    "Why is the garden gate unlocked?",
    "He paints houses during the summer.",
    "Lunch was cold but cheap.",
    "Remember to charge your phone.",
)

_GERMAN_TEXTS = (
    ("Der Hund schläft unter dem Tisch.", "The dog sleeps under the table."),
    ("Morgen fahren wir nach Hamburg.", "Tomorrow we travel to Hamburg."),
    ("Bitte bring drei Flaschen Milch mit.", "Please bring three bottles of milk."),
    ("Meine Großmutter backt einen Apfelkuchen.", "My grandmother bakes an apple cake."),
    ("Das Fenster in der Küche ist kaputt.", "The kitchen window is broken."),
    ("Wann beginnt heute die Vorlesung?", "When does the lecture begin today?"),
    ("Ich habe meinen Schirm vergessen.", "I forgot my umbrella."),
    ("Im Winter gehen sie oft schwimmen.", "In winter they often go swimming."),
    ("Zwei Kinder spielen hinter dem Haus.", "Two children play behind the house."),
    ("Der Zug hat zehn Minuten Verspätung.", "The train is ten minutes late."),
    ("Schöne Grüße aus München.", "Warm regards from Munich."),
    ("Niemand kennt den Weg zum Bahnhof.", "Nobody knows the way to the station."),
)

ENGLISH = tuple(Sentence(text, "en", english=text) for text in _ENGLISH_TEXTS)
GERMAN = tuple(Sentence(text, "de", english) for text, english in _GERMAN_TEXTS)
SENTENCES = ENGLISH + GERMAN


def speak(sentence: Sentence, words_per_minute: int = WORDS_PER_MINUTE) -> Samples:
    """Espeak-ng says the sentence in its language: float32 samples at 16 kHz, shape ``[n]``.

    The samples are not the same from call to call. The model knows 140 to 180 words per minute.
    """
    synthesiser = espeak()
    spoken = synthesiser.speak(sentence.text, sentence.voice, words_per_minute, most_seconds=30)
    assert spoken is not None, f"espeak-ng takes more than 30 s for {sentence.text!r}"
    return decode(encode(spoken, synthesiser.sample_rate, AudioFormat.WAV), max_seconds=30)
