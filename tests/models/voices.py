"""Recordings that stand for voices, to be cloned: two of different length and pitch."""

from pathlib import Path

from tests.recordings import recording, tone

VOICES = {"anna": (1.0, 220.0), "bert": (2.3, 110.0)}
"""Seconds and pitch of each."""


def make_voices(folder: Path) -> Path:
    """Write the recordings into a new folder, and return it."""
    folder.mkdir()
    for name, (seconds, hz) in VOICES.items():
        (folder / f"{name}.wav").write_bytes(recording(tone(seconds, hz, 24_000), 24_000, "wav"))
    return folder
