"""Hostility that no schema knows: of headers, paths, JSON, forms, lengths, and of what is no HTTP.

Each maker gets a `Hand`, which knows the key to send and things that are there to be asked for.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from tests import hostile_uploads
from tests.fault.hostile import values
from tests.fault.hostile.shots import CANARY, Header, Shot, written
from tests.recordings import recording, tone

JSON_TYPE: Header = ("Content-Type", "application/json")
FORM: Header = ("Content-Type", "multipart/form-data; boundary=x")
TEXT: dict[str, Any] = {"text": f"Hello {CANARY}.", "kind": "reply"}
NOTE = recording(tone(0.3), 16_000, "ogg")

Things = dict[str, list[str]]
"""Ids that are there, by the name of the parameter that takes them; `spoken` and `heard` are jobs that have results."""


@dataclass(frozen=True, slots=True)
class Hand:
    """What every hand-made request is made with."""

    auth: tuple[Header, ...]
    things: Things

    def shot(
        self,
        family: str,
        method: str,
        target: str,
        name: object,
        *headers: Header,
        body: bytes | None = None,
        **more: Any,
    ) -> Shot:
        data = written(method, target, (*self.auth, *headers), body)
        return Shot(family=family, name=str(name)[:60], method=method, target=target, data=data, **more)


# --- headers ----------------------------------------------------------------------------------------------------------


def headers(hand: Hand) -> Iterator[Shot]:
    """Fields that name the host, the caller and the body in ways that nobody has in mind; many, long and odd ones."""
    text = json.dumps(TEXT).encode()
    requests: tuple[tuple[str, str, tuple[Header, ...], bytes | None], ...] = (
        ("GET", "/v1/jobs", (), None),
        ("GET", "/nowhere", (), None),
        ("GET", "/", (), None),
        ("POST", "/v1/texts", (JSON_TYPE,), text),
        ("POST", "/v1/texts", (JSON_TYPE,), b'{"text": 5}'),
    )
    soup = (
        [(b"Host", value) for value in values.HOSTS]
        + [(b"Origin", value) for value in values.ORIGINS]
        + list(values.ODDITIES)
    )
    for (name, value), (method, path, usual, body) in product(soup, requests):
        yield hand.shot("headers", method, path, name + b": " + value, *usual, (name, value), body=body)
    for token in values.TOKENS:
        data = written("GET", "/v1/jobs", [(b"Authorization", token)])
        yield Shot(family="headers", name=repr(token[:40]), method="GET", target="/v1/jobs", data=data)
    for number in (100, 1_000, 5_000):
        many = [(f"X-{n}", CANARY) for n in range(number)]
        yield hand.shot("headers", "GET", "/v1/jobs", f"{number} of them", *many)
    twice = [("Authorization", f"Bearer {CANARY}"), ("Content-Type", "text/plain"), ("Idempotency-Key", "a" * 9)] * 2
    yield hand.shot("headers", "POST", "/v1/texts", "twice", JSON_TYPE, *twice, body=text)
    socket = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    for path, key in product(("/", "/v1/events", "/v1/jobs", "/nowhere"), ("AAAAAAAAAAAAAAAAAAAAAA==", "", CANARY)):
        yield hand.shot("sockets", "GET", path, path, *socket, ("Sec-WebSocket-Key", key))


def fields_with_a_meaning(hand: Hand) -> Iterator[Shot]:
    """Absurd values where the API looks at what they say."""
    spoken, heard = hand.things["spoken"][0], hand.things["heard"][0]
    text = json.dumps(TEXT).encode()
    for value in values.ABSURD:
        name = value[:40]
        for field in ("Range", "If-None-Match", "If-Range", "If-Modified-Since"):
            usual = [("Range", "bytes=0-3")] if field == "If-Range" else []
            yield hand.shot("fields", "GET", f"/v1/jobs/{spoken}/audio", name, *usual, (field, value))
        yield hand.shot("fields", "GET", f"/v1/jobs/{heard}", name, ("Prefer", value))
        yield hand.shot("fields", "GET", f"/v1/jobs/{heard}/events", name, ("Last-Event-ID", value))
        yield hand.shot("fields", "GET", "/", name, ("If-None-Match", value))
        yield hand.shot("fields", "POST", "/v1/texts", name, JSON_TYPE, ("Idempotency-Key", value), body=text)
        key = [("Idempotency-Key", value)] * 2
        yield hand.shot("fields", "POST", "/v1/texts", name, JSON_TYPE, *key, body=text, invalid=True)


# --- paths ------------------------------------------------------------------------------------------------------------


def paths(hand: Hand) -> Iterator[Shot]:
    """Ways out of the tree, bytes that are no text, ids in other spellings, and queries that are too much."""
    job = hand.things["job_id"][0]
    spelled = [f"{job}%00", job.upper(), f"{{{job}}}", f"urn:uuid:{job}", job.replace("-", ""), f"{job}/%2e%2e"]
    spelled += [f"{job}/transcript/", f"{job}/transcript?format=%00"]
    plain = [*values.PATHS, *(f"/v1/jobs/{path}" for path in spelled)]
    lists = ("/v1/jobs", "/v1/webhooks/deliveries", "/v1/voices", "/api/ready")
    asked = [*plain, *(f"{path}?{query}" for path, query in product(lists, values.QUERIES))]
    asked += [
        f"/api/ready?{query}" for query in ("min_warm=0", "min_warm=" + "9" * 400, "stage=%00", "stage=stt&stage=x")
    ]
    for path in asked:
        yield hand.shot("paths", "GET", path, path)
    for path, method in product(plain, ("POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH", "TRACE")):
        yield hand.shot("paths", method, path, path)
    for method, path in (("OPTIONS", "*"), ("CONNECT", "127.0.0.1:80"), ("GET", "*"), ("GET", ""), ("GET", "v1/jobs")):
        yield hand.shot("paths", method, path, path, http=False)


# --- JSON -------------------------------------------------------------------------------------------------------------


def json_bodies(hand: Hand) -> Iterator[Shot]:
    """What is no JSON, no text, not the right members, too deep, too large, or a trap for whoever uses it later."""
    endpoint = f"/v1/webhooks/endpoints/{hand.things['endpoint_id'][0]}"
    places = (("POST", "/v1/texts"), ("POST", "/v1/webhooks/endpoints"), ("PATCH", endpoint))
    for (method, path), body in product(places, values.NOT_JSON):
        yield hand.shot("json", method, path, body[:30], JSON_TYPE, body=body, invalid=True)
    for body in values.NOT_JSON[:12]:
        for media_type in (
            "application/json; charset=utf-16",
            "application/json; charset=zlib",
            "application/JSON;",
            "text/json",
        ):
            yield hand.shot(
                "json", "POST", "/v1/texts", media_type, ("Content-Type", media_type), body=body, invalid=True
            )
    deep = [{"text": "a", "metadata": _nested(depth)} for depth in (33, 500, 900)]
    deep += [{"text": "a", "kind": "reply", "reply_schema": _nested(depth, "not")} for depth in (40, 900)]
    deep += [{"text": "a", "kind": "reply", "reply_schema": schema} for schema in values.WRONG_SCHEMAS]
    deep += [{"text": "a", "webhook_url": address} for address in values.WRONG_ADDRESSES]
    wrong = [("POST", "/v1/texts", body) for body in (*values.WRONG_TEXTS, *deep)]
    wrong += [("POST", "/v1/webhooks/endpoints", body) for body in values.WRONG_ENDPOINTS]
    wrong += [("POST", "/v1/webhooks/endpoints", {"url": address}) for address in values.WRONG_ADDRESSES]
    wrong += [("PATCH", endpoint, body) for body in values.WRONG_CHANGES]
    for method, path, value in wrong:
        body = json.dumps(value).encode()
        yield hand.shot("json", method, path, body[:50], JSON_TYPE, body=body, invalid=True)
    odd = [{**TEXT, "metadata": metadata} for metadata in values.ODD_METADATA]
    odd += [{**TEXT, "reply_schema": schema} for schema in values.ODD_SCHEMAS]
    for value in odd:
        for key in ((), (("Idempotency-Key", f"odd-{hash_of(value)}"),)):
            body = json.dumps(value).encode()
            yield hand.shot("json", "POST", "/v1/texts", body[-50:], JSON_TYPE, *key, body=body)
    for body in (b'{"text": "a", "text": 5}', b'{"text": 5, "text": "a"}', json.dumps(TEXT).encode("utf-16")):
        yield hand.shot("json", "POST", "/v1/texts", body[:30], JSON_TYPE, body=body)


def hash_of(value: object) -> int:
    """A number that stands for a value, the same in every run."""
    return sum(ord(letter) * place for place, letter in enumerate(repr(value)[:3_000], start=1))


def _nested(depth: int, name: str = "a") -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {name: value}
    return value


# --- recordings -------------------------------------------------------------------------------------------------------


@cache
def _corpus() -> tuple[tuple[str, bytes], ...]:
    return tuple(hostile_uploads.all_of_them())


def uploads(hand: Hand) -> Iterator[Shot]:
    """The corpus of recordings that nobody made in good faith."""
    for name, data in _corpus():
        body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + data + b"\r\n--x--\r\n"
        yield hand.shot("uploads", "POST", "/v1/voice-notes", name, FORM, body=body)
