"""What `voxqueue up` says once it is ready: where to look, in addresses that other tools take as they stand."""

import io

import pytest

from voxqueue.embedded.stack import Stack, _metrics_urls
from voxqueue.embedded.supervisor import Supervisor
from voxqueue.embedded.terminal import _welcome

pytestmark = pytest.mark.unit

_DATABASE = "postgresql+psycopg://postgres@/voxqueue?host=%2Ftmp%2Fvoxqueue-x"


def lines(monkeypatch: pytest.MonkeyPatch, **more: str) -> list[str]:
    monkeypatch.delenv("VOXQUEUE_DATABASE_URL", raising=False)
    env = {"VOXQUEUE_DATABASE_URL": _DATABASE, **more}
    stack = Stack("http://127.0.0.1:8000", None, _metrics_urls(env, 2), env, None, Supervisor(io.StringIO()))
    return _welcome(stack, 1.0).splitlines()


def test_psql_takes_the_address_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows nothing of the driver that ours names."""
    plain = _DATABASE.replace("+psycopg", "")
    assert f"  Database   export VOXQUEUE_DATABASE_URL='{plain}'" in lines(monkeypatch, VOXQUEUE_API_KEYS="required")


def test_every_address_with_metrics_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said = lines(monkeypatch, VOXQUEUE_METRICS_PORT="9464")
    at = said.index("  Metrics    http://127.0.0.1:9464/metrics of api")
    assert said[at + 1 : at + 4] == [
        f"             http://127.0.0.1:{port}/metrics of {name}"
        for port, name in ((9465, "worker-1"), (9466, "worker-2"), (9467, "courier"))
    ]


def test_without_a_port_for_metrics_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("8000/metrics" in line and "VOXQUEUE_METRICS_PORT" in line for line in lines(monkeypatch))
