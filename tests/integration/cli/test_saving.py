"""Speech that is saved: the name of the file and what is in it belong together."""

import json
from pathlib import Path

import pytest

from tests.command import voxqueue
from tests.wire import JOB_ID, Asked, Said, Wire, job, serving

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("name", "words", "asked"),
    [
        ("reply.mp3", (), "mp3"),
        ("reply.OPUS", (), "ogg"),
        ("reply.wav", ("--format", "wav"), "wav"),
        ("reply", (), None),
        ("reply", ("--format", "flac"), "flac"),
    ],
)
def test_the_name_of_a_file_for_speech_says_its_format(
    wire: Wire, tmp_path: Path, name: str, words: tuple[str, ...], asked: str | None
) -> None:
    """Else a reply.wav would silently hold Ogg."""
    ran = voxqueue("send", "--text", "hello", "--save", str(tmp_path / name), *words, "--url", wire.url)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(wire.asked[0].body).get("audio_format") == asked


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("reply.aiff", (), "those are ogg, mp3, m4a, wav, flac"),
        ("reply.wav", ("--format", "mp3"), "reply.wav would hold mp3"),
        ("reply.ogg", ("--kind", "reply"), "a job of the kind reply has nothing spoken"),
    ],
)
def test_a_file_that_the_speech_does_not_fit_is_refused_before_anything_is_sent(
    wire: Wire, tmp_path: Path, name: str, words: tuple[str, ...], said: str
) -> None:
    ran = voxqueue("send", "--text", "hello", "--save", str(tmp_path / name), *words, "--url", wire.url)
    assert (ran.returncode, wire.asked) == (2, [])
    assert said in ran.stderr


def test_the_speech_of_a_job_goes_into_no_file_of_another_format(tmp_path: Path) -> None:
    wav, ogg = tmp_path / "reply.wav", tmp_path / "reply.ogg"

    def answer(asked: Asked) -> Said:
        return Said(body=b"speech") if asked.path.endswith("/audio") else Said.json(job(audio_format="ogg"))

    with serving(answer) as wire:
        for words in (("job", JOB_ID), ("job", "retry", JOB_ID)):
            ran = voxqueue(*words, "--save", str(wav), "--url", wire.url)
            assert ran.returncode == 2
            assert "call it reply.ogg" in ran.stderr
        assert all(asked.method == "GET" for asked in wire.asked), "nothing is tried again for it"
        assert not wav.exists()
        assert voxqueue("job", JOB_ID, "--save", str(ogg), "--url", wire.url).returncode == 0
    assert ogg.read_bytes() == b"speech"
