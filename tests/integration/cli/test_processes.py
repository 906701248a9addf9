"""Commands that run a process of the system: what they refuse, and that they take our code, not the user's."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command import one_line, voxqueue
from voxqueue.embedded import embedded_redis
from voxqueue.embedded.processes import free_port

pytestmark = pytest.mark.integration


def test_flower_without_a_password_stays_on_loopback() -> None:
    redis = {"VOXQUEUE_REDIS_URL": "redis://127.0.0.1:1/0"}
    for address in ("0.0.0.0", "::", "10.1.2.3", "example.org"):  # noqa: S104 - refused
        ran = voxqueue("flower", "--address", address, **redis)
        assert ran.returncode == 1
        assert "VOXQUEUE_FLOWER_BASIC_AUTH=user:password" in one_line(ran.stderr)
    for password in ("secret", ":secret", "user:", "a:b,c"):
        ran = voxqueue("flower", VOXQUEUE_FLOWER_BASIC_AUTH=password, **redis)
        assert ran.returncode == 1
        assert password not in one_line(ran.stderr).replace("user:password", "")


def test_flower_wants_its_password_and_keeps_it_off_the_command_line(tmp_path: Path) -> None:
    import httpx

    port = free_port()
    with embedded_redis(tmp_path) as url:
        env = {**os.environ, "VOXQUEUE_REDIS_URL": url, "VOXQUEUE_FLOWER_BASIC_AUTH": "operator:geheim"}
        flower = subprocess.Popen([sys.executable, "-m", "voxqueue", "flower", "--port", str(port)], env=env)
        try:
            page = f"http://127.0.0.1:{port}/api/workers"
            give_up = time.monotonic() + 30
            while True:
                try:
                    status = httpx.get(page, trust_env=False).status_code
                    break
                except httpx.TransportError:
                    assert time.monotonic() < give_up
                    time.sleep(0.1)
            assert status == 401
            allowed = httpx.get(page, auth=("operator", "geheim"), trust_env=False)
            assert (allowed.status_code, allowed.json()) == (200, {})
            command = Path(f"/proc/{flower.pid}/cmdline").read_text()
            assert "flower" in command
            assert "geheim" not in command
            assert url not in command
        finally:
            flower.terminate()
            assert flower.wait(20) == 0


@pytest.mark.parametrize("role", ["worker", "courier"])
def test_a_folder_of_the_users_is_not_taken_for_ours(role: str, tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    env = {name: value for name, value in os.environ.items() if not name.startswith("VOXQUEUE_")}
    ran = subprocess.run(
        [Path(sys.executable).with_name("voxqueue"), role],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=env,
    )
    assert "the wrong one" not in ran.stderr
    assert ran.returncode != 0
    assert "VOXQUEUE_" in ran.stderr, "it got as far as missing its servers"


def test_migrate_without_a_database_says_what_to_set() -> None:
    ran = voxqueue("migrate")
    assert ran.returncode == 1
    assert "VOXQUEUE_DATABASE_URL" in one_line(ran.stderr)
    ran = voxqueue("migrate", VOXQUEUE_DATABASE_URL=f"postgresql://u:p@127.0.0.1:{free_port()}/x")
    assert ran.returncode == 1
    assert "Connection refused" in one_line(ran.stderr)
    assert ":p@" not in ran.stderr, "no password"
    assert "postgresql://" in one_line(voxqueue("migrate", VOXQUEUE_DATABASE_URL="mysql://u:p@127.0.0.1/x").stderr)
