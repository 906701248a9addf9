"""JSON that the API refuses, each with the member that is at fault."""

from typing import Any

import httpx
import pytest

from tests.problems import fields, refused

pytestmark = pytest.mark.integration


def _reply(schema: object) -> dict[str, Any]:
    return {"text": "hi", "kind": "reply", "reply_schema": schema}


def nested(levels: int) -> dict[str, Any]:
    """A schema of that many levels."""
    return {"not": nested(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "text", "is required"),
        ({"text": ""}, "text", "is empty"),
        ({"text": " \n\t"}, "text", "is empty"),
        ({"text": "x" * 1001}, "text", "has 1,001 characters, more than the 1,000 allowed"),
        ({"text": "a\0b"}, "text", "NUL"),
        ({"text": 5}, "text", "must be a text"),
        ({"text": None}, "text", "must be a text"),
        ({"text": "hi", "kind": "voice_note"}, "kind", "POST /v1/voice-notes takes that kind"),
        ({"text": "hi", "kind": "chat", "file": "x"}, "file", "is not a field that we know"),
        ({"text": "hi", "language": "xx-YY"}, "language", "'xx-YY' is not a language that we know"),
        ({"text": "hi", "instructions": "x" * 201}, "instructions", "more than the 200 allowed"),
        ({"text": "hi", "instructions": "\0"}, "instructions", "NUL"),
        ({"text": "hi", "voice": "\0"}, "voice", "NUL"),
        ({"text": "hi", "metadata": [1]}, "metadata", "must be a JSON object"),
        ({"text": "hi", "metadata": {"a": "\0"}}, "metadata", "NUL"),
        ({"text": "hi", "metadata": {"a": {"b": "x" * 4096}}}, "metadata", "more than the 4,096 allowed"),
        ({"text": "hi", "priority": "urgent"}, "priority", "'urgent'"),
        ({"text": "hi", "prompt": "x"}, "prompt", "is not a field that we know"),
        (
            {"text": "hi", "kind": "reply", "voice": "x"},
            "voice",
            "of no use: a job of the kind reply has nothing spoken",
        ),
        ({"text": "hi", "kind": "reply", "audio_format": "mp3"}, "audio_format", "of no use"),
        ({"text": "hi", "kind": "speech", "instructions": "Be kind."}, "instructions", "speech has no reply written"),
        ({"text": "hi", "kind": "speech", "word_timestamps": True}, "word_timestamps", "is not a field that we know"),
        ({"text": "hi", "reply_schema": {}}, "reply_schema", "for the kind reply alone"),
        (_reply([]), "reply_schema", "must be a JSON object"),
        (_reply("{}"), "reply_schema", "must be a JSON object"),
        (_reply({"title": "\0"}), "reply_schema", "NUL"),
        (_reply({"title": "x" * 8192}), "reply_schema", "more than the 8,192 allowed"),
        (_reply(nested(40)), "reply_schema", "nested more than 32 levels"),
        (_reply({"type": "text"}), "reply_schema", "is no JSON schema: $.type: 'text'"),
        (_reply({"properties": {"a": {"pattern": "(a+)+$"}}}), "reply_schema", "has a pattern"),
        (_reply({"patternProperties": {"a": True}}), "reply_schema", "has a pattern"),
        (_reply({"$ref": "http://127.0.0.1:9/"}), "reply_schema", "must begin with #"),
        (_reply({"allOf": [{"$dynamicRef": "other.json"}]}), "reply_schema", "must begin with #"),
    ],
)
def test_a_bad_member_is_named(api: httpx.Client, body: dict[str, Any], field: str, words: str) -> None:
    answer = api.post("/v1/texts", json=body)
    assert words in refused(answer, 422)
    assert fields(answer) == [field]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"text": "hi"', "is not JSON"),
        (b"", "is required"),
        (b'"text"', "must be a JSON object"),
        (b'["text"]', "must be a JSON object"),
        (b'{"text": "\xff\xfe"}', "cannot be read: it is not UTF-8"),
        (b"[" * 5_000, "cannot be read: it is nested too deeply"),
        (b'{"text": "\\ud800"}', "not valid Unicode"),
        (b'{"text": "hi", "metadata": {"a": "\\ud800"}}', "not valid Unicode"),
        (b'{"text": "hi", "kind": "\\ud800"}', "kind"),
        (b'{"text": "hi", "\\ud800": 1}', "not valid Unicode"),
        (b'{"text": "hi", "metadata": {"a": -Infinity}}', "number"),
        (
            b'{"text": "hi", "metadata": {"a": 1' + b"0" * 5000 + b"}}",
            "cannot be read: it holds a number with too many digits",
        ),
    ],
)
def test_bad_json_is_refused(api: httpx.Client, body: bytes, words: str) -> None:
    answer = api.post("/v1/texts", content=body, headers={"content-type": "application/json"})
    assert words in refused(answer, 422)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "audio/ogg", None])
def test_a_body_of_the_wrong_type_is_refused(api: httpx.Client, note: bytes, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    for path, expected in (("/v1/texts", "application/json"), ("/v1/voice-notes", "multipart/form-data")):
        answer = api.post(path, content=b'{"text": "hi"}', headers=headers)
        assert expected in refused(answer, 415, "wrong-media-type")


def test_of_many_bad_members_some_are_named(api: httpx.Client) -> None:
    """Else a caller could have us send many times what they send."""
    answer = api.post("/v1/texts", json=dict.fromkeys(map(str, range(2_000)), 0))
    refused(answer, 422)
    assert fields(answer)[-1] == "body"
    assert "more faults" in answer.json()["errors"][-1]["detail"]
    assert len(answer.content) < 10_000
