"""API keys as text, and which routes ask for which scope."""

import hashlib

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy.orm import sessionmaker
from starlette.requests import HTTPConnection

from api.app import create_app
from api.auth import KnownKeys, identify
from api.gate import declared_scope, is_public
from voxqueue.cli.processes import keys_asked
from voxqueue.client import Client, ClientError
from voxqueue.errors import Forbidden, MisconfiguredError
from voxqueue.keys.caller import ANYBODY, Caller, Scope
from voxqueue.keys.keys import Key
from voxqueue.keys.loopback import is_loopback
from voxqueue.settings import ApiSettings, LimitsSettings, Settings

pytestmark = pytest.mark.unit

READS, WRITES = Scope.JOBS_READ, Scope.JOBS_WRITE
EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing is bound to it here


def test_a_key_survives_being_sent() -> None:
    key = Key.new()
    assert Key.parse(str(key)) == key
    assert str(key).isascii()
    assert str(key).replace("_", "").isalnum(), "a shell or a double click would cut it"


def test_keys_cannot_be_guessed() -> None:
    keys = [Key.new() for _ in range(1000)]
    assert len({key.id for key in keys}) == len({key.secret for key in keys}) == 1000
    assert 62 ** len(keys[0].secret) >= 2**160
    assert len(set("".join(key.secret for key in keys))) == 62, "some letters are never used"


def test_only_the_right_secret_matches_what_is_stored() -> None:
    key = Key("A" * 12, "b" * 32)
    assert key.secret_hash == hashlib.sha256(b"b" * 32).hexdigest()
    assert key.matches(key.secret_hash)
    assert not Key(key.id, "b" * 31 + "c").matches(key.secret_hash)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vq_",
        "vq__",
        f"vq_{'a' * 12}_{'b' * 31}",
        f"vq_{'a' * 12}_{'b' * 33}",
        f"vq_{'a' * 11}_{'b' * 32}",
        f"VQ_{'a' * 12}_{'b' * 32}",
        f"vq_{'a' * 12}_{'b' * 32}\n",
        f" vq_{'a' * 12}_{'b' * 32}",
        f"vq_{'a' * 12}_{'b' * 31}\N{ARABIC-INDIC DIGIT FIVE}",
        f"vq_{'a' * 11}\0_{'b' * 32}",
    ],
)
def test_what_is_no_key_is_not_looked_up(text: str) -> None:
    assert Key.parse(text) is None


def test_a_secret_does_not_show_by_accident() -> None:
    key = Key.new()
    assert key.secret not in repr(key)
    assert key.secret not in f"{[key]}"


def test_admin_may_do_everything_and_others_what_they_have() -> None:
    reader = Caller("t", frozenset({Scope.JOBS_READ}))
    assert [scope for scope in Scope if reader.may(scope)] == [Scope.JOBS_READ]
    assert all(Caller("t", frozenset({Scope.ADMIN})).may(scope) for scope in Scope)
    assert all(ANYBODY.may(scope) for scope in Scope)


# --- routes -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(Settings())


def test_every_route_is_public_or_declares_its_scope(app: FastAPI) -> None:
    """A route that declares neither would be there for `admin` keys only; one that declares both confuses readers."""
    for route in iter_route_contexts(app.routes):
        public, scope = is_public(route.path or ""), declared_scope(route)
        assert public != (scope is not None), f"{route.methods} {route.path}: public {public}, scope {scope}"


def test_the_description_tells_which_scope_a_route_asks_for(app: FastAPI) -> None:
    declared = {
        (method.lower(), route.path): declared_scope(route)
        for route in iter_route_contexts(app.routes)
        if isinstance(route.original_route, APIRoute) and route.original_route.include_in_schema
        for method in route.methods or ()
    }
    told = {
        (method, path): operation.get("security")
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
    }
    assert told == {it: None if scope is None else [{"API key": [scope.value]}] for it, scope in declared.items()}


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/voice-notes", WRITES),
        ("POST", "/v1/texts", WRITES),
        ("GET", "/v1/voices", READS),
        ("GET", "/v1/jobs", READS),
        ("GET", "/v1/jobs/{job_id}", READS),
        ("GET", "/v1/jobs/{job_id}/transcript", READS),
        ("GET", "/v1/jobs/{job_id}/audio", READS),
        ("POST", "/v1/jobs/{job_id}/cancel", WRITES),
        ("DELETE", "/v1/jobs/{job_id}", WRITES),
    ],
)
def test_what_changes_something_asks_for_more_than_reading(app: FastAPI, method: str, path: str, scope: Scope) -> None:
    [found] = [
        declared_scope(route)
        for route in iter_route_contexts(app.routes)
        if route.path == path and method in (route.methods or ())
    ]
    assert found is scope


# --- being open -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1"])
def test_loopback_addresses(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [EVERYWHERE, "::", "", "10.0.0.1", "192.168.1.5", "example.com", "localhost.example", "127.0.0.1.nip.io"],
)
def test_addresses_that_others_can_reach(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("host", "set_to", "keys"),
    [
        ("127.0.0.1", None, "open"),
        ("::1", None, "open"),
        (EVERYWHERE, None, "required"),
        ("10.1.2.3", None, "required"),
        ("127.0.0.1", "required", "required"),
        (EVERYWHERE, "required", "required"),
        ("localhost", "open", "open"),
    ],
)
def test_an_api_is_open_on_loopback_unless_somebody_says_otherwise(host: str, set_to: str | None, keys: str) -> None:
    assert keys_asked(host, ApiSettings.model_validate({} if set_to is None else {"keys": set_to})) == keys


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "10.1.2.3", "voxqueue.example.com"])
def test_an_api_refuses_to_start_open_on_another_address(host: str) -> None:
    with pytest.raises(MisconfiguredError, match=r"refuses to start open .* VOXQUEUE_API_KEYS=required"):
        keys_asked(host, ApiSettings(keys="open"))


def test_settings_that_say_nothing_ask_for_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """VOXQUEUE_API_KEY, which clients read, must not be taken for a setting of the group `api`."""
    monkeypatch.setenv("VOXQUEUE_API_KEY", "vq_a_b")
    assert Settings().api.keys == "required"
    assert "keys" not in Settings().api.model_fields_set
    monkeypatch.setenv("VOXQUEUE_API_KEYS", "open")
    assert Settings().api.keys == "open"


@pytest.mark.parametrize("policy", ["", "10", "0/second", "10/fortnight", "10/second;20/hour", "-1/second"])
def test_a_rate_that_makes_no_sense_is_refused_at_start(policy: str) -> None:
    with pytest.raises(ValueError, match="requests"):
        LimitsSettings(requests=policy)


def _asked(server: tuple[str, int | None] | None, **headers: str) -> HTTPConnection:
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    return HTTPConnection({"type": "http", "server": server, "headers": sent, "path": "/v1/jobs"})


OPEN = ApiSettings(keys="open", cors_origins=("https://app.example.com",))


@pytest.mark.parametrize(
    "asked",
    [
        _asked(("127.0.0.1", 8000)),
        _asked(("127.0.0.1", 8000), host="localhost:8000"),
        _asked(("::1", 8000), host="[::1]:8000"),
        _asked(("127.0.0.1", 8000), host="127.0.0.1:8000", origin="http://localhost:3000"),
        _asked(("127.0.0.1", 8000), host="127.0.0.1:8000", origin="https://app.example.com"),
    ],
)
def test_an_open_api_answers_this_machine(asked: HTTPConnection, no_keys: KnownKeys) -> None:
    assert identify(asked, OPEN, no_keys) is ANYBODY


@pytest.mark.parametrize(
    "asked",
    [
        _asked(("10.1.2.3", 8000), host="localhost"),
        _asked(("::ffff:10.1.2.3", 8000), host="localhost"),
        _asked(("/run/voxqueue.sock", None), host="localhost"),
        _asked(None, host="localhost"),
        _asked(("127.0.0.1", 8000), host="voxqueue.example.com"),
        _asked(("127.0.0.1", 8000), host="rebound.example.com:8000"),
        _asked(("127.0.0.1", 8000), host="127.0.0.1:8000", origin="https://evil.example.com"),
        _asked(("127.0.0.1", 8000), host="127.0.0.1:8000", origin="null"),
    ],
    ids=["address", "mapped", "socket", "unknown", "proxy", "rebinding", "page", "sandboxed page"],
)
def test_an_open_api_answers_nobody_else(asked: HTTPConnection, no_keys: KnownKeys) -> None:
    """Behind a proxy, or called by a stranger's page in a browser here, it would be open to the world."""
    with pytest.raises(Forbidden, match="VOXQUEUE_API_KEYS=required"):
        identify(asked, OPEN, no_keys)


@pytest.fixture
def no_keys() -> KnownKeys:
    """Keys in a database that is not there: asking it would fail."""
    return KnownKeys(sessionmaker())


# --- the client -------------------------------------------------------------------------------------------------------


def test_a_key_that_was_copied_badly_is_not_told_in_the_error() -> None:
    with pytest.raises(ClientError, match="copied") as caught:
        Client(api_key="vq_abc_secret\n")
    assert "secret" not in str(caught.value)
