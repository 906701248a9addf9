"""Hand-made hostility of the connection: bodies that lie about their length or break off, and what is no HTTP."""

import json
from collections.abc import Iterator
from functools import partial

from tests.fault.hostile import values
from tests.fault.hostile.handmade import FORM, JSON_TYPE, NOTE, TEXT, Hand
from tests.fault.hostile.handmade_forms import FILE, form
from tests.fault.hostile.shots import END, Header, Shot

_GONE: tuple[END, ...] = ("breaks off", "leaves")
_CHUNKED = ("Transfer-Encoding", "chunked")


def lengths(hand: Hand) -> Iterator[Shot]:
    """Bodies that break off, go on, or are not as long as they say; clients that leave before the answer."""
    yield from _lengths_of(hand, "/v1/texts", JSON_TYPE, json.dumps(TEXT).encode())
    yield from _lengths_of(hand, "/v1/voice-notes", FORM, form((FILE, NOTE)))


def _lengths_of(hand: Hand, path: str, kind: Header, body: bytes) -> Iterator[Shot]:
    shot = partial(hand.shot, "lengths", "POST", path)
    yield from _broken_off(hand, path, kind, body)
    for end in _GONE:
        yield shot("whole", kind, body=body, end=end)
    for length in (1, len(body) - 9):
        yield shot(f"too short: {length}", kind, ("Content-Length", str(length)), body=body, invalid=True)
    yield shot("expects", kind, ("Expect", "100-continue"), ("Content-Length", "1000"), end="leaves", invalid=True)
    by_byte = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    yield shot("a chunk for each byte", kind, _CHUNKED, body=by_byte)
    whole = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    yield shot("trailers", kind, _CHUNKED, body=whole + b"Authorization: x\r\nX: " + b"y" * 9_000 + b"\r\n\r\n")
    no_http = partial(shot, http=False, end="breaks off")
    for chunk in values.CHUNKS:
        yield no_http(chunk[:20], kind, _CHUNKED, body=chunk)
    for text in values.LENGTHS:
        yield no_http(text, kind, ("Content-Length", text), body=body)
    for other in (("Content-Length", "6"), _CHUNKED):
        yield no_http(other[1], kind, ("Content-Length", "5"), other, body=body)
    for coding in values.CODINGS:
        yield no_http(coding, kind, ("Transfer-Encoding", coding), body=whole + b"\r\n")


def _broken_off(hand: Hand, path: str, kind: Header, body: bytes) -> Iterator[Shot]:
    for share in (0.0, 0.1, 0.5, 0.9, 0.99):
        part = body[: int(share * len(body))]
        for end in _GONE:
            shot = partial(hand.shot, "lengths", "POST", path, share, kind, end=end, invalid=True)
            yield shot(("Content-Length", str(len(body))), body=part)
            yield shot(_CHUNKED, body=b"%x\r\n%b" % (len(body), part))


def no_http(_hand: Hand) -> Iterator[Shot]:
    """What the server has to refuse by itself, and half requests."""
    for data in values.NO_HTTP:
        for end in _GONE:
            name = repr(data[:40])
            yield Shot(family="no http", name=name, method="GET", target="", data=data, http=False, end=end)
