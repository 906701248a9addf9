"""What the API refuses: each with a problem document that names the cause, and with nothing left behind."""

import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from api.bounded_http import MOST_HEAD_BYTES
from tests import recordings
from tests.integration.conftest import LIMITS, Left

pytestmark = pytest.mark.integration

NOTHING: Left = (0, 0, 0, [])


@pytest.fixture(autouse=True)
def nothing_is_left_behind(sessions: object, left: Callable[[], Left]) -> Iterator[None]:
    """No row and no blob, whatever was refused."""
    yield
    assert left() == NOTHING


@pytest.fixture(scope="module")
def note() -> bytes:
    return recordings.recording(recordings.tone(1), 16_000, "ogg")


def refused(answer: httpx.Response, status: int, code: str = "invalid-request") -> str:
    """Check that an answer is a problem document of this kind; returns its detail."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:voxqueue:problem:{code}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["instance"] == answer.request.url.path
    detail = problem["detail"]
    assert isinstance(detail, str)
    assert detail
    return detail


def fields(answer: httpx.Response) -> list[str]:
    return [error["field"] for error in answer.json()["errors"]]


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
        ({"kind": "chat"}, "kind", "'chat' is none of voice_note, transcription"),
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


def test_a_text_field_as_large_as_a_file_is_refused(api: httpx.Client, note: bytes) -> None:
    answer = api.post("/v1/voice-notes", files={"file": note, "voice": (None, "x" * 500_000)})
    assert "exceeded maximum size" in refused(answer, 422)


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


def _reply(schema: object) -> dict[str, Any]:
    return {"text": "hi", "kind": "reply", "reply_schema": schema}


def nested(levels: int) -> dict[str, Any]:
    """A schema of that many levels."""
    return {"not": nested(levels - 1)} if levels else {}


# --- JSON -------------------------------------------------------------------------------------------------------------


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
        ({"text": "hi", "kind": "voice_note"}, "kind", "'voice_note' is none of chat, reply, speech"),
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


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("/v1/voice-notes", "multipart/form-data; boundary=x"), ("/v1/texts", "application/json"), ("/nowhere", "a/b")],
)
def test_a_large_body_is_refused_before_it_is_sent(api_url: str, path: str, content_type: str) -> None:
    answer = _exchange(api_url, path, content_type, "Content-Length: 10000000000", b"")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer
    assert b"bytes allowed here" in answer


@pytest.mark.parametrize("path", ["/v1/voice-notes", "/v1/texts"])
def test_a_large_body_of_unknown_length_is_refused_while_it_is_sent(api_url: str, path: str) -> None:
    form = path == "/v1/voice-notes"
    content_type = "multipart/form-data; boundary=x" if form else "application/json"
    start = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' if form else b'{"text": "'
    body = start + b"x" * (LIMITS.upload_bytes + 100_000)
    chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n"  # and no last chunk: the client would go on
    answer = _exchange(api_url, path, content_type, "Transfer-Encoding: chunked", chunk)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer
    assert b"body-too-large" in answer


def _exchange(url: str, path: str, content_type: str, length: str, body: bytes) -> bytes:
    """Send a request whose body never ends, and read the answer."""
    at = urlsplit(url)
    with socket.create_connection((at.hostname, at.port), timeout=10) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n{length}\r\n\r\n"
        connection.sendall(head.encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
            part = connection.recv(65_536)
            assert part, answer
            answer += part
        return answer


def test_a_client_that_sends_all_of_a_large_body_still_gets_its_answer(api: httpx.Client) -> None:
    answer = api.post("/v1/voice-notes", files={"file": b"x" * (5 * LIMITS.upload_bytes)})
    assert "bytes allowed" in refused(answer, 413, "body-too-large")
    assert api.get("/livez").status_code == 200, "the connection can be used on"


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET /", b"a" * 10_000),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ", b"a" * 10_000),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", b"X: a\r\n" * 1_000),
        (
            b"POST /v1/texts HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n",
            b"X: a\r\n" * 1_000,
        ),
    ],
)
def test_a_head_without_an_end_is_refused(api_url: str, begin: bytes, more: bytes) -> None:
    """Whoever sends it needs no key, and the server would keep it all."""
    at = urlsplit(api_url)
    with socket.create_connection((at.hostname, at.port), timeout=10) as connection:
        connection.sendall(begin)
        far_more = more * (800 * MOST_HEAD_BYTES // len(more))  # than what buffers on the way hold
        with pytest.raises(ConnectionError):
            connection.sendall(far_more)


def test_a_long_head_and_a_longer_body_are_taken(api: httpx.Client) -> None:
    headers = {f"X-{number}": "a" * 1_000 for number in range(100)}
    for _ in range(3):
        assert api.post("/v1/texts", json={"text": " " * 200_000}, headers=headers).status_code in (413, 422)


# --- everything else --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("job_id", ["01a1fbc7-1769-7397-bca1-f96c9a1a3dff", "5", "%00", "x" * 300, "..%2f", "{a}"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/transcript"), ("GET", "/audio")]
)
def test_a_job_that_does_not_exist_is_404(api: httpx.Client, method: str, path: str, job_id: str) -> None:
    refused(api.request(method, f"/v1/jobs/{job_id}{path}"), 404, "not-found")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "cursor=x", "cursor=" + "A" * 22 + "!", "state=done", "kind=x"]
)
def test_a_bad_list_query_is_refused(api: httpx.Client, query: str) -> None:
    answer = api.get(f"/v1/jobs?{query}")
    refused(answer, 422)
    assert fields(answer) == [query.partition("=")[0]]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/jobs?stat=running", "stat: is not a query parameter here; known is limit, cursor, state, kind"),
        ("/v1/jobs?limit=5&stat=running", "stat: is not"),
        ("/v1/jobs/01a1fbc7-1769-7397-bca1-f96c9a1a3dff?wait=5", "known is none"),
        ("/v1/jobs/01a1fbc7-1769-7397-bca1-f96c9a1a3dff/transcript?fmt=srt", "known is format"),
        ("/v1/webhooks/deliveries?endpoint_id=5", "endpoint_id: is not"),
        ("/v1/voices?lang=de", "known is language"),
        ("/api/ready?stages=stt", "known is stage, min_warm"),
        ("/v1/jobs?limit=x", "limit: must be a whole number"),
        ("/v1/jobs?limit=0", "limit: must be at least 1"),
        ("/v1/jobs?limit=101", "limit: must be at most 100"),
        ("/v1/webhooks/deliveries?job=x", "job: must be an id"),
        ("/api/ready?min_warm=x", "min_warm: must be a whole number"),
    ],
)
def test_a_query_that_is_not_understood_is_refused_in_plain_words(api: httpx.Client, path: str, words: str) -> None:
    """Of a misspelt filter, everything would be listed."""
    detail = refused(api.get(path), 422)
    assert words in detail
    assert "Input should" not in detail, "pydantic's words are for programmers"


def test_a_submission_with_its_fields_in_the_query_is_refused(api: httpx.Client, note: bytes) -> None:
    answer = api.post("/v1/voice-notes?kind=transcription", files={"file": note})
    assert "kind: is not a query parameter" in refused(answer, 422)


@pytest.mark.parametrize("address", ["[", "[::1", "]", "[v1.x]", "localhost.example", "a@", ":8000"])
@pytest.mark.parametrize("path", ["/v1/jobs", "/nowhere"])
def test_a_host_that_is_none_of_this_machine_is_refused(api: httpx.Client, path: str, address: str) -> None:
    refused(api.get(path, headers={"Host": address}), 403, "forbidden")
    refused(api.get(path, headers={"Origin": f"http://{address}"}), 403, "forbidden")


def test_unknown_routes_and_methods_are_problems_too(api: httpx.Client) -> None:
    refused(api.get("/nowhere"), 404, "not-found")
    answer = api.put("/v1/texts")
    assert "POST" in refused(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"
