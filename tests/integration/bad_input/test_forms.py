"""Recordings and forms that the API refuses, each with the field that is at fault."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests import recordings
from tests.integration.conftest import LIMITS
from tests.problems import fields, refused

pytestmark = pytest.mark.integration


# --- recordings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "status", "code"),
    [
        pytest.param(lambda: b"", 422, "empty-audio", id="empty"),
        pytest.param(lambda: b"Dear diary, today I was renamed.\n" * 9, 415, "not-audio", id="text"),
        pytest.param(
            lambda: recordings.truncated(recordings.recording(recordings.tone(3), 16_000, "ogg")),
            422,
            "audio-truncated",
            id="truncated",
        ),
        pytest.param(recordings.video_without_sound, 422, "no-audio-stream", id="video without sound"),
        pytest.param(recordings.hls_playlist, 415, "not-audio", id="HLS playlist"),
        pytest.param(recordings.ffconcat, 415, "not-audio", id="list of files"),
        pytest.param(lambda: recordings.random_bytes(1024, seed=1), 415, "not-audio", id="random bytes"),
        pytest.param(
            lambda: recordings.recording(recordings.tone(0.02), 16_000, "wav"), 422, "audio-too-short", id="20 ms"
        ),
    ],
)
def test_a_file_that_is_no_usable_recording_is_refused(
    api: httpx.Client, make: Callable[[], bytes], status: int, code: str
) -> None:
    refused(api.post("/v1/voice-notes", files={"file": ("note.ogg", make(), "audio/ogg")}), status, code)


def test_ten_hours_in_a_small_file_are_too_long(api: httpx.Client) -> None:
    bomb = recordings.opus_bomb(10)
    assert len(bomb) < LIMITS.upload_bytes, "else it is the size that is refused"
    assert "longer than the 15:00 min" in refused(
        api.post("/v1/voice-notes", files={"file": bomb}), 413, "audio-too-long"
    )


# --- forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "field", "words"),
    [
        ({"kind": "chat"}, "kind", "'chat' is none of voice_note, transcription; POST /v1/texts takes that kind"),
        ({"kind": "nonsense"}, "kind", "'nonsense'"),
        ({"language": "xx"}, "language", "'xx' is not a language that we know"),
        ({"language": "english"}, "language", "is not a language"),
        ({"priority": "urgent"}, "priority", "'high'"),
        ({"audio_format": "exe"}, "audio_format", "'ogg'"),
        ({"webhook": "https://x"}, "webhook", "is not a field that we know"),
        ({"instructions": "x" * 201}, "instructions", "more than the 200 allowed"),
        ({"instructions": "a\0b"}, "instructions", "NUL"),
        ({"prompt": "x" * 1001}, "prompt", "more than the 1,000 allowed"),
        ({"prompt": "a\0b"}, "prompt", "NUL"),
        ({"hotwords": "x" * 1001}, "hotwords", "more than the 1,000 allowed"),
        ({"task": "summarise"}, "task", "'translate'"),
        ({"word_timestamps": "perhaps"}, "word_timestamps", "must be true or false"),
        ({"kind": "transcription", "voice": "x"}, "voice", "of no use: a job of the kind transcription has nothing"),
        ({"kind": "transcription", "audio_format": "mp3"}, "audio_format", "of no use"),
        ({"kind": "transcription", "instructions": "Be kind."}, "instructions", "transcription has no reply"),
        ({"reply_schema": "{}"}, "reply_schema", "is not a field that we know"),
        ({"voice": "x" * 201}, "voice", "more than the 200 allowed"),
        ({"voice": "a\0b"}, "voice", "NUL"),
        ({"metadata": "[1]"}, "metadata", "must be a JSON object"),
        ({"metadata": "{"}, "metadata", "must be a JSON object"),
        ({"metadata": '"text"'}, "metadata", "must be a JSON object"),
        ({"metadata": "[" * 4000}, "metadata", "must be a JSON object"),
        ({"metadata": '{"a": "b\\u0000"}'}, "metadata", "NUL"),
        ({"metadata": '{"b\\u0000": 1}'}, "metadata", "NUL"),
        ({"metadata": '{"a": ["\\ud800"]}'}, "metadata", "Unicode"),
        ({"metadata": '{"a": NaN}'}, "metadata", "number"),
        ({"metadata": '{"a": 1e999}'}, "metadata", "number"),
        ({"metadata": '{"a":' * 40 + "1" + "}" * 40}, "metadata", "nested"),
        ({"metadata": '{"a": "' + "x" * 4096 + '"}'}, "metadata", "more than the 4,096 allowed"),
        ({"language": ["en", "de"]}, "language", "more than once"),
        ({"bad\ud800".encode("utf-8", "surrogatepass").decode("latin-1"): "x"}, None, "is not a field that we know"),
    ],
)
def test_a_bad_field_is_named(
    api: httpx.Client, note: bytes, data: dict[str, Any], field: str | None, words: str
) -> None:
    answer = api.post("/v1/voice-notes", files={"file": ("note.ogg", note)}, data=data)
    detail = refused(answer, 422)
    assert words in detail
    assert field is None or fields(answer) == [field]


def test_every_bad_field_is_named_at_once(api: httpx.Client, note: bytes) -> None:
    answer = api.post("/v1/voice-notes", files={"file": note}, data={"kind": "x", "language": "xx", "more": "1"})
    detail = refused(answer, 422)
    assert sorted(fields(answer)) == ["kind", "language", "more"]
    assert detail.count(";") == 2


def test_a_form_needs_exactly_one_file(api: httpx.Client, note: bytes) -> None:
    without = api.post("/v1/voice-notes", files={"kind": (None, "transcription")})
    assert refused(without, 422) == "file: is required"
    two = api.post("/v1/voice-notes", files=[("file", ("a.ogg", note)), ("file", ("b.ogg", note))])
    assert refused(two, 422) == "file: is given more than once"
    other = api.post("/v1/voice-notes", files=[("file", ("a.ogg", note)), ("picture", ("b.png", b"x"))])
    assert refused(other, 422) == "picture: is not a field that we know"
    unnamed = api.post("/v1/voice-notes", files={"file": (None, "text")})
    assert refused(unnamed, 422).startswith("file: must be a file")
    as_file = api.post("/v1/voice-notes", files={"file": ("a.ogg", note), "kind": ("kind.txt", "transcription")})
    assert fields(as_file) == ["kind"]


def test_too_many_parts_are_refused(api: httpx.Client, note: bytes) -> None:
    names = [f"field{number}" for number in range(50)]
    answer = api.post("/v1/voice-notes", files={"file": note}, data=dict.fromkeys(names, "x"))
    assert "Too many fields" in refused(answer, 422)
    files = [("file", (f"{number}.ogg", note)) for number in range(9)]
    assert "Too many files" in refused(api.post("/v1/voice-notes", files=files), 422)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("voice", "has more than the 200 characters allowed"),
        ("instructions", "has more than the 200 characters allowed"),
        ("prompt", "has more than the 1,000 characters allowed"),
        ("hotwords", "has more than the 1,000 characters allowed"),
        ("metadata", "has more than the 4,096 bytes of JSON allowed"),
        ("kind", "is far too long"),
    ],
)
@pytest.mark.parametrize("size", [20_000, 500_000])
def test_a_text_field_as_large_as_a_file_is_refused(
    api: httpx.Client, note: bytes, field: str, words: str, size: int
) -> None:
    """It is not read to its end, and yet the caller is told which one it is and what is allowed."""
    answer = api.post("/v1/voice-notes", files={"file": note, field: (None, "x" * size)})
    assert refused(answer, 422) == f"{field}: {words}"
    assert fields(answer) == [field]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"nonsense"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="kind"\r\n\r\nno en'),
    ],
)
def test_a_broken_form_is_refused(api: httpx.Client, content_type: str, body: bytes) -> None:
    refused(api.post("/v1/voice-notes", content=body, headers={"content-type": content_type}), 422)


@pytest.mark.parametrize(("name", "value"), [("voice", "+2AA-"), ("+2AA-", "x"), ("metadata", "+2AA-")])
def test_a_charset_that_smuggles_half_a_character_in_is_refused(
    api: httpx.Client, note: bytes, name: str, value: str
) -> None:
    """UTF-7 decodes this to a lone surrogate, which neither Postgres nor UTF-8 can express."""
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()]
    parts += [b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n', note, b"\r\n--x--\r\n"]
    headers = {"content-type": "multipart/form-data; boundary=x; charset=utf-7"}
    refused(api.post("/v1/voice-notes", content=b"".join(parts), headers=headers), 422)


def _form(name: bytes, value: bytes, note: bytes) -> bytes:
    """A form whose boundary is x, with a note and one more field."""
    field = b'--x\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n' + value + b"\r\n"
    return field + b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + note + b"\r\n--x--\r\n"


@pytest.mark.parametrize(
    ("charset", "name", "value", "words"),
    [
        ("", b"instructions", "für alle".encode("latin-1"), "the field instructions is not UTF-8"),
        ("", b"metadata", b'{"a": "\xe4"}', "the field metadata is not UTF-8"),
        ("; charset=latin-1", b"instructions", "für alle".encode("latin-1"), "another charset than UTF-8"),
        ("; charset=nonsense", b"instructions", "für alle".encode(), "another charset than UTF-8"),
        ("", "für".encode("latin-1"), b"x", "is not a field that we know"),
    ],
)
def test_a_form_that_is_not_utf8_is_refused(
    api: httpx.Client, note: bytes, charset: str, name: bytes, value: bytes, words: str
) -> None:
    """Read as Latin-1, it would be stored with wrong letters, and nobody would be told."""
    headers = {"content-type": f"multipart/form-data; boundary=x{charset}"}
    answer = api.post("/v1/voice-notes", content=_form(name, value, note), headers=headers)
    assert words in refused(answer, 422)
