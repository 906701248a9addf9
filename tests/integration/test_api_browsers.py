"""What the API tells browsers: headers on every answer, and which pages may call."""

import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.problems import handle_errors
from api.security_headers import SecurityHeaders
from tests.integration.conftest import serving
from tests.keys import TEXT, bearer, make_key
from voxqueue.database.session import Sessions
from voxqueue.settings import ApiSettings, Settings

pytestmark = pytest.mark.integration

APP = "https://app.example.com"
NOTHING = "default-src 'none'; frame-ancestors 'none'"


@pytest.fixture(scope="module")
def cors_url(api_settings: Settings) -> Iterator[str]:
    """An API that pages of one origin may call."""
    keyed = ApiSettings(keys="required", cors_origins=(APP,))
    with serving(api_settings.model_copy(update={"api": keyed})) as url:
        yield url


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/jobs", 200), ("/v1/jobs/x", 404), ("/v1/nothing", 404), ("/livez", 200), ("/readyz", 200)],
)
def test_every_answer_says_that_nothing_is_to_be_run_in_it(api: httpx.Client, path: str, status: int) -> None:
    answer = api.get(path)
    assert answer.status_code == status
    headers = answer.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["content-security-policy"] == NOTHING
    assert headers.get("cache-control") == ("no-store" if path.startswith("/v1/") else None)


def test_what_the_gate_refuses_says_so_too(cors_url: str) -> None:
    answer = httpx.get(f"{cors_url}/v1/jobs")
    assert answer.status_code == 401
    assert (answer.headers["content-security-policy"], answer.headers["cache-control"]) == (NOTHING, "no-store")


def test_the_page_of_documentation_is_made_of_our_own_files(api: httpx.Client) -> None:
    """Else it would not work offline, and would run what somebody else's server sends."""
    page = api.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "//" not in page.text, "another host is named"
    names = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert {name.rpartition(".")[2] for name in names} == {"css", "js", "png"}
    for name in names:
        file = api.get(f"/{name}")
        assert (file.status_code, file.headers["x-content-type-options"]) == (200, "nosniff")
        assert "immutable" in file.headers["cache-control"]
    gone = re.sub(r"files/\w+", "files/0123456789abcdef", names[0])
    assert api.get(f"/{gone}").status_code == 404


def test_a_bug_does_not_take_the_headers_away() -> None:
    """The framework answers those from outside of all middleware."""
    app = FastAPI()
    app.add_middleware(SecurityHeaders, cors=False)
    handle_errors(app)

    @app.get("/v1/bug")
    def bug() -> None:
        raise ZeroDivisionError

    answer = TestClient(app, raise_server_exceptions=False).get("/v1/bug")
    assert answer.status_code == 500
    assert answer.headers["content-security-policy"] == NOTHING
    assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-store")


def test_no_page_may_call_unless_it_is_named(api: httpx.Client) -> None:
    preflight = {"Origin": APP, "Access-Control-Request-Method": "GET"}
    for answer in (api.get("/livez", headers={"Origin": APP}), api.options("/v1/jobs", headers=preflight)):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_page_of_a_named_origin_may_call_with_its_key(cors_url: str, sessions: Sessions) -> None:
    asked = {
        "Origin": APP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }
    preflight = httpx.options(f"{cors_url}/v1/texts", headers=asked)
    assert preflight.status_code == 200, "a browser's question comes without a key"
    assert preflight.headers["access-control-allow-origin"] == APP
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in preflight.headers

    sent = {"Origin": APP, **bearer(make_key(sessions))}
    answer = httpx.post(f"{cors_url}/v1/texts", json=TEXT, headers=sent)
    assert answer.status_code == 202
    assert answer.headers["access-control-allow-origin"] == APP
    exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert exposed >= {"Location", "RateLimit", "RateLimit-Policy", "Retry-After"}
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"


def test_a_page_may_read_why_it_was_refused(cors_url: str) -> None:
    """Without the header a browser hides the answer, and the page knows nothing but that it failed."""
    answer = httpx.get(f"{cors_url}/v1/jobs", headers={"Origin": APP})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, APP)


def test_a_page_of_another_origin_may_not(cors_url: str, sessions: Sessions) -> None:
    evil = {"Origin": "https://evil.example.com"}
    assert "access-control-allow-origin" not in httpx.get(f"{cors_url}/livez", headers=evil).headers
    asked = {**evil, "Access-Control-Request-Method": "POST"}
    assert httpx.options(f"{cors_url}/v1/texts", headers=asked).status_code == 400
