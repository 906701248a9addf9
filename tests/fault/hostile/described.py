"""Requests made from the API's own description by schemathesis: those it allows, and those it forbids."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from email import message_from_bytes
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from schemathesis import Case, GenerationMode

from tests.fault.hostile.handmade import NOTE, Hand
from tests.fault.hostile.shots import Header, Shot, written

Description = dict[str, Any]
Operation = tuple[str, str]

_HARD_TO_GUESS = ("language", "voice", "webhook_url", "webhook_events", "reply_schema", "file", "metadata")
_ITS_OWN = {"x-schemathesis-testcaseid", "connection", "user-agent", "content-length", "authorization"}
_LONG_ENOUGH = 12  # characters of a text that would not stand in a log by accident


def operations(description: Description) -> list[Operation]:
    return [(method, path) for path, methods in description["paths"].items() for method in methods]


def play(
    description: Description,
    operation: Operation,
    hand: Callable[[], Hand],
    send: Callable[[Shot], None],
    *,
    number: int,
    run: int,
) -> None:
    """Send up to that many requests for an operation, as many allowed as forbidden ones; the same for the same `run`.

    Args:
        hand: What to send them with, asked for anew each time.
        send: Sends one, and looks at the answer.
    """
    method, path = operation
    described = schemathesis.openapi.from_dict(description)[path][method]
    rules = Rules(description, operation)
    for mode in GenerationMode:

        @seed(run)
        @settings(
            max_examples=max(1, number // 2),
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=described.as_strategy(generation_mode=mode), data=st.data())
        def one(case: Case[Any], data: st.DataObject) -> None:
            send(_shot(case, data, hand(), rules))

        try:
            one()
        except Unsatisfiable:  # there is nothing about this operation that could be wrong
            continue


def _shot(case: Case[Any], data: st.DataObject, hand: Hand, rules: "Rules") -> Shot:
    _make_likely(case, data, hand)
    sent = case.as_transport_kwargs(base_url="http://localhost")
    request = requests.Request(**{name: sent[name] for name in _PARTS if name in sent}).prepare()
    own_key = case.headers is not None and data.draw(st.integers(0, 7)) == 0
    fields: list[Header] = [(name, value) for name, value in request.headers.items() if name.lower() not in _ITS_OWN]
    fields += [("Authorization", request.headers.get("Authorization", ""))] if own_key else hand.auth
    body = request.body.encode() if isinstance(request.body, str) else request.body
    assert body is None or isinstance(body, bytes)
    target = request.path_url
    return Shot(
        family="described",
        name=f"{case.meta.generation.mode.value} {case.operation.label}" if case.meta else case.operation.label,
        method=case.method,
        target=target,
        data=written(case.method, target, [(name, _latin(value)) for name, value in fields], body),
        invalid=not rules.allow(target, str(request.headers.get("content-type", "")), body),
        statuses=rules.statuses,
        told=tuple(_long_texts(case.body)),
    )


_PARTS = ("method", "url", "headers", "params", "data", "json", "files", "cookies")


def _make_likely(case: Case[Any], data: st.DataObject, hand: Hand) -> None:
    """In half of the cases, name things that are there, and leave out or give what few values fit: else most requests
    would fail at the first look."""
    for name in case.path_parameters or {}:
        if name in hand.things and data.draw(st.booleans()):
            case.path_parameters[name] = data.draw(st.sampled_from(hand.things[name]))
    if isinstance(case.body, dict) and data.draw(st.booleans()):
        for name in _HARD_TO_GUESS:
            case.body.pop(name, None)
        if case.operation.path == "/v1/voice-notes":
            case.body["file"] = NOTE  # type: ignore[assignment]


def _latin(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")


def _long_texts(value: object) -> Iterator[str]:
    """The texts in a body, at any depth, that are long enough to be looked for."""
    if isinstance(value, str) and len(value) >= _LONG_ENOUGH:
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _long_texts(name)
            yield from _long_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _long_texts(inner)


class Rules:
    """What the description says of one operation's query, body and answers. Header fields may hold any text."""

    def __init__(self, description: Description, operation: Operation) -> None:
        method, path = operation
        said = description["paths"][path][method]
        self._root = description
        self._query = {it["name"]: it["schema"] for it in said.get("parameters", ()) if it["in"] == "query"}
        self._bodies = {name: it["schema"] for name, it in said.get("requestBody", {}).get("content", {}).items()}
        # A parameter of the path can hold what makes it another path.
        self.statuses = frozenset(int(status) for status in said["responses"]) | ({404, 405} if "{" in path else set())

    def allow(self, target: str, content_type: str, body: bytes | None) -> bool:
        """Whether a request fits, by what went over the wire and not by what it was meant to be."""
        query = dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))
        if not query.keys() <= self._query.keys():
            return False
        if not all(self._fits_as_text(query[name], schema) for name, schema in self._query.items() if name in query):
            return False
        if not self._bodies:
            return True
        media_type = content_type.partition(";")[0]
        if media_type not in self._bodies:
            return False
        if media_type == "application/json":
            try:
                return self._fits(json.loads(body or b""), self._bodies[media_type])
            except ValueError:
                return False
        return self._form_fits(content_type, body or b"", self._bodies[media_type])

    def _form_fits(self, content_type: str, body: bytes, schema: dict[str, Any]) -> bool:
        message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=HTTP)
        parts = list(message.iter_parts()) if message.is_multipart() else []
        names = [str(part.get_param("name", header="content-disposition")) for part in parts]
        known = self._root["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        members = known["properties"]
        if not set(names) <= set(members) or not set(known["required"]) <= set(names) or len(set(names)) < len(names):
            return False
        texts = [part.get_content() if part.get_content_maintype() == "text" else "" for part in parts]
        return all(self._fits_as_text(text, members[name]) for name, text in zip(names, texts, strict=True))

    def _fits_as_text(self, text: str, schema: dict[str, Any]) -> bool:
        """Whether a text stands for any value that fits: a query and a form hold nothing but texts."""
        meant: list[object] = [text]
        if text.strip().lower() in _TRUE_OR_FALSE:
            meant.append(True)
        with suppress(ValueError):
            meant.append(int(text))
        return any(self._fits(value, schema) for value in meant)

    def _fits(self, value: object, schema: dict[str, Any]) -> bool:
        return bool(Draft202012Validator({**schema, "components": self._root["components"]}).is_valid(value))


_TRUE_OR_FALSE = {"true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n"}
