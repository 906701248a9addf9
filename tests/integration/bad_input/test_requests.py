"""Requests that are refused whatever they hold: too large, for what is not there, not understood."""

import socket
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from api.bounded_http import MOST_HEAD_BYTES
from tests.integration.conftest import LIMITS
from tests.problems import fields, refused

pytestmark = pytest.mark.integration


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "content_type", "words"),
    [
        ("/v1/voice-notes", "multipart/form-data; boundary=x", b"(2,000,000 bytes) allowed"),
        ("/v1/texts", "application/json", b"A text may have 1,000 characters"),
        ("/nowhere", "a/b", b"the 65,536 bytes allowed here"),
    ],
)
def test_a_large_body_is_refused_before_it_is_sent(api_url: str, path: str, content_type: str, words: bytes) -> None:
    """In words of what may be sent: how much room the form around it has is of no use to anybody."""
    answer = _exchange(api_url, path, content_type, "Content-Length: 10000000000", b"")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer
    assert words in answer


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
    assert "(2,000,000 bytes) allowed" in refused(answer, 413, "body-too-large")
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


def test_all_that_is_possible_at_an_address_is_named(api: httpx.Client) -> None:
    """Several routes lie there; the framework names the methods of the first alone."""
    answer = api.put(f"/v1/jobs/{uuid4()}")
    assert "possible is DELETE, GET." in refused(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "DELETE, GET"
