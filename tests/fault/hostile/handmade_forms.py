"""Hand-made hostility of forms."""

from collections.abc import Iterator
from functools import partial
from itertools import product

from tests.fault.hostile import values
from tests.fault.hostile.handmade import FORM, NOTE, Hand
from tests.fault.hostile.shots import CANARY, Shot
from tests.recordings import random_bytes

FILE = b'Content-Disposition: form-data; name="file"; filename="note.ogg"'
_NOTE = (FILE, NOTE)


def form(*parts: tuple[bytes, bytes], boundary: bytes = b"x") -> bytes:
    """A body of parts, each with its header lines and its content."""
    head = b"--" + boundary + b"\r\n"
    whole = b"".join(head + lines + b"\r\n\r\n" + content + b"\r\n" for lines, content in parts)
    return whole + b"--" + boundary + b"--\r\n"


def field(name: str, value: bytes = b"x") -> tuple[bytes, bytes]:
    return f'Content-Disposition: form-data; name="{name}"'.encode(), value


def forms(hand: Hand) -> Iterator[Shot]:
    """Too many parts, parts without an end or a name, names that are none, charsets that are not meant for text."""
    shot = partial(hand.shot, "forms", "POST", "/v1/voice-notes")
    for name, body in _wrong().items():
        yield shot(name, FORM, body=body, invalid=True)
    for name, body in _odd().items():
        yield shot(name, FORM, body=body)
    for charset, value in product(values.CHARSETS, values.IN_A_CHARSET):
        kind = ("Content-Type", f"multipart/form-data; boundary=x; charset={charset}".encode("latin-1"))
        yield shot(f"{charset[:20]} {value[:9]!r}", kind, body=form(_NOTE, field("hotwords", value)))
    whole = form(_NOTE)
    for boundary in values.BOUNDARIES:
        kind = ("Content-Type", f"multipart/form-data{boundary}".encode("latin-1"))
        yield shot(boundary[:30], kind, body=whole)
    for media_type in ("application/x-www-form-urlencoded", "multipart/mixed; boundary=x", "application/json", ""):
        yield shot(media_type, ("Content-Type", media_type), body=whole, invalid=True)


def _wrong() -> dict[str, bytes]:
    """Bodies that are no form, or not the one that the description asks for."""
    whole = form(_NOTE)
    return {
        "10,000 fields": form(_NOTE, *[field(f"a{n}") for n in range(10_000)]),
        "10,000 times one field": form(_NOTE, *[field("voice")] * 10_000),
        "10,000 files": form(*[(FILE, b"x")] * 10_000),
        "10,000 part headers": form((b"\r\n".join([FILE, *[b"X: y"] * 10_000]), NOTE)),
        "a part header of 100 kB": form((FILE + b"\r\nX: " + b"y" * 100_000, NOTE)),
        "two files": form(_NOTE, _NOTE),
        "a file for a field": form(_NOTE, (FILE.replace(b'"file"', b'"kind"'), b"transcription")),
        "a field for the file": form(field("file", NOTE)),
        "no file": form(field("kind", b"transcription")),
        "an empty file": form((FILE, b"")),
        "no name": form((b"Content-Disposition: form-data", b"x"), _NOTE),
        "no disposition": form((b"Content-Type: audio/ogg", NOTE)),
        "an unknown field": form(_NOTE, field(CANARY)),
        "a field twice": form(_NOTE, field("language", b"en"), field("language", b"de")),
        "a field of 500 kB": form(_NOTE, field("voice", b"x" * 500_000)),
        "a field name of 100 kB": form(_NOTE, field("x" * 100_000)),
        "NUL": form(_NOTE, field("instructions", b"a\0b")),
        "metadata that nests": form(_NOTE, field("metadata", b'{"a":' * 3_000)),
        "metadata that is no object": form(_NOTE, field("metadata", b"[]")),
        "metadata of numbers": form(_NOTE, field("metadata", b'{"a": ' + b"9" * 4_500 + b"}")),
        "no end": whole[:-8],
        "nothing": b"",
        "only the end": b"--x--\r\n",
        "only boundaries": b"--x\r\n" * 50_000,
        "line feeds only": whole.replace(b"\r\n", b"\n"),
        "another boundary": form(_NOTE, boundary=b"y"),
        "noise": random_bytes(50_000, 3),
        "a form in a form": form((FILE + b"\r\nContent-Type: multipart/mixed; boundary=x", whole)),
        "more than allowed": form((FILE, bytes(5_000_000))),
    }  # fmt: skip


def _odd() -> dict[str, bytes]:
    """Forms that an honest client would hardly send."""
    whole = form(_NOTE)
    return {
        "a preamble of 100 kB": b"a" * 100_000 + b"\r\n" + whole,
        "an epilogue of 100 kB": whole + b"a" * 100_000,
        "no UTF-8": form(_NOTE, field("metadata", b'{"a": "\xff"}')),  # taken for Latin-1 by the framework
        "base64": form((FILE + b"\r\nContent-Transfer-Encoding: base64", NOTE)),
        **{repr(name[:30]): form((FILE.replace(b"note.ogg", name), NOTE)) for name in values.NAMES},
        "a name in UTF-7": form((FILE + b"; filename*=utf-7''+2AA-", NOTE)),
    }
