"""What `voxqueue up` says: how the fleet comes up, and then where to look, in addresses that other tools take as they
stand."""

import io
from pathlib import Path

import pytest

from voxqueue.embedded.stack import Stack, _metrics_urls
from voxqueue.embedded.supervisor import Supervisor
from voxqueue.embedded.terminal import _News, _where_to_look

pytestmark = pytest.mark.unit

_DATABASE = "postgresql+psycopg://postgres@/voxqueue?host=%2Ftmp%2Fvoxqueue-x"


def lines(monkeypatch: pytest.MonkeyPatch, **more: str) -> list[str]:
    monkeypatch.delenv("VOXQUEUE_DATABASE_URL", raising=False)
    env = {"VOXQUEUE_DATABASE_URL": _DATABASE, **more}
    stack = Stack("http://127.0.0.1:8000", None, _metrics_urls(env, 2), env, None, Supervisor(io.StringIO()))
    return _where_to_look(stack, Path(".voxqueue/servers.env")).splitlines()


def test_where_keys_are_wanted_it_says_how_to_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command needs the database's address, which is another one at each start."""
    said = lines(monkeypatch, VOXQUEUE_API_KEYS="required")
    assert "  Database   . .voxqueue/servers.env" in said
    assert any("voxqueue keys create" in line for line in said)


def test_every_address_with_metrics_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said = lines(monkeypatch, VOXQUEUE_METRICS_PORT="9464")
    at = said.index("  Metrics    http://127.0.0.1:9464/metrics of api")
    assert said[at + 1 : at + 4] == [
        f"             http://127.0.0.1:{port}/metrics of {name}"
        for port, name in ((9465, "worker-1"), (9466, "worker-2"), (9467, "courier"))
    ]


def test_without_a_port_for_metrics_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("8000/metrics" in line and "VOXQUEUE_METRICS_PORT" in line for line in lines(monkeypatch))


def test_each_reason_is_said_when_it_appears_and_when_it_goes() -> None:
    """Said again at every step, long lists bury what is new."""
    news = _News()

    def said(status: str, *reasons: str) -> list[str]:
        report = {"state": "WARMING_UP", "services": {"stt": {"status": status}}, "degraded_reasons": reasons}
        return news.of(report).splitlines()

    assert news.of({}) == "waiting for the API"
    assert said("loading", "a") == ["WARMING_UP: stt loading", "  degraded: a"]
    assert said("warming", "a", "b") == ["WARMING_UP: stt warming", "  degraded: b"]
    assert said("warming", "a", "b") == []
    assert said("warming", "b") == ["  no longer degraded: a"]
    assert news.of({}) == "waiting for the API"
    assert said("warming", "b") == ["WARMING_UP: stt warming"], "an API that is away takes no reason with it"


def test_what_is_wrong_is_said_once_it_is_known_that_no_engine_can_be_used() -> None:
    news = _News()

    def said(state: str, *errors: str) -> list[str]:
        return news.of({"state": state, "services": {}, "errors": errors}).splitlines()

    assert said("LOADING_MODELS", "a") == ["LOADING_MODELS: "], "perhaps the next engine can"
    assert said("ERROR", "a") == ["ERROR: ", "  error: a"]
    assert said("ERROR", "a", "b") == ["  error: b"]
    assert said("READY") == ["READY: "]
    assert said("ERROR", "a") == ["ERROR: ", "  error: a"]
