"""``voxqueue keys`` as a process, and how ``voxqueue api`` starts: open, asking for keys, or not at all."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.command import ROOT, one_line, voxqueue
from tests.integration.conftest import serving
from voxqueue.database.session import Sessions
from voxqueue.embedded.processes import free_port
from voxqueue.keys.keys import Key
from voxqueue.keys.models import ApiKey
from voxqueue.settings import ApiSettings, Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def database(database_url: str, sessions: Sessions) -> dict[str, str]:
    """The environment of commands that speak to an empty database."""
    return {"VOXQUEUE_DATABASE_URL": database_url}


def test_create_prints_the_key_and_nothing_else_where_it_is_piped(database: dict[str, str], sessions: Sessions) -> None:
    ran = voxqueue("keys", "create", "--name", "backend", **database)
    assert ran.returncode == 0, ran.stderr
    key = Key.parse(ran.stdout.removesuffix("\n"))
    assert key is not None
    assert key.id in ran.stderr
    assert "jobs:read, jobs:write" in ran.stderr
    assert key.secret not in ran.stderr, "it would end up in the log of whoever pipes the key"
    with sessions() as session:
        stored = session.get_one(ApiKey, key.id)
    assert (stored.name, stored.tenant, stored.scopes) == ("backend", "default", ["jobs:read", "jobs:write"])
    assert stored.expires_at is None
    assert key.matches(stored.secret_hash)


def test_a_key_is_made_listed_used_and_revoked(
    database: dict[str, str], api_settings: Settings, sessions: Sessions
) -> None:
    words = ("--name", "app", "--tenant", "bakery", "--scope", "jobs:write", "--scope", "jobs:read", "--days", "30")
    made = voxqueue("keys", "create", *words, **database).stdout.strip()
    key_id = made.split("_")[1]
    voxqueue("keys", "create", "--name", "other", **database)

    [key] = json.loads(voxqueue("keys", "list", "--tenant", "bakery", "--json", **database).stdout)
    assert (key["id"], key["name"], key["tenant"], key["state"]) == (key_id, "app", "bakery", "valid")
    assert key["scopes"] == ["jobs:read", "jobs:write"]
    assert key["expires_at"] > key["created_at"]
    assert key["last_used_at"] is None
    listed = voxqueue("keys", "list", **database).stdout
    assert listed.count("\n") == 2
    assert "never used" in listed
    assert made.split("_")[2] not in listed

    with serving(api_settings.model_copy(update={"api": ApiSettings(keys="required")})) as url:
        sent = voxqueue("send", "--text", "hello", "--kind", "reply", "--url", url, VOXQUEUE_API_KEY=made)
        assert sent.returncode == 0, sent.stderr
        assert "API key is needed" in one_line(voxqueue("send", "--text", "hello", "--url", url).stderr)
    assert "used 20" in voxqueue("keys", "list", "--tenant", "bakery", **database).stdout

    assert "is revoked" in voxqueue("keys", "revoke", key_id, **database).stderr
    again = voxqueue("keys", "revoke", key_id, **database)
    assert (again.returncode, "before" in again.stderr) == (0, True)
    [key] = json.loads(voxqueue("keys", "list", "--tenant", "bakery", "--json", **database).stdout)
    assert key["state"] == "revoked"


def test_revoking_a_key_that_is_not_there_fails_and_says_so(database: dict[str, str]) -> None:
    ran = voxqueue("keys", "revoke", "nothing", **database)
    assert ran.returncode == 1
    assert "voxqueue keys list" in one_line(ran.stderr)


@pytest.mark.parametrize(
    "words",
    [
        ("--name", ""),
        ("--name", "x" * 101),
        ("--name", "a\nb"),
        ("--name", "a", "--tenant", "a b"),
        ("--name", "a", "--tenant", ""),
        ("--name", "a", "--scope", "everything"),
        ("--name", "a", "--days", "0"),
    ],
)
def test_what_makes_no_sense_makes_no_key(database: dict[str, str], sessions: Sessions, words: tuple[str, ...]) -> None:
    ran = voxqueue("keys", "create", *words, **database)
    assert (ran.returncode, ran.stdout) == (2, "")
    with sessions() as session:
        assert session.query(ApiKey).count() == 0


def test_without_a_database_the_commands_say_what_is_missing() -> None:
    said = one_line(voxqueue("keys", "list").stderr)
    assert "VOXQUEUE_DATABASE_URL" in said
    assert "`. .voxqueue/servers.env`" in said, "there is one beside `voxqueue up`"
    away = voxqueue("keys", "list", VOXQUEUE_DATABASE_URL="postgresql://127.0.0.1:9/none")
    assert (away.returncode, "cannot be used" in one_line(away.stderr)) == (1, True)


def test_settings_do_not_print_the_key() -> None:
    ran = voxqueue("settings", VOXQUEUE_API_KEY="vq_a_0f8e7d6c")
    assert "VOXQUEUE_API_KEY=***" in ran.stdout
    assert "0f8e7d6c" not in ran.stdout


# --- voxqueue api -----------------------------------------------------------------------------------------------------


@contextmanager
def running_api(settings: Settings, *words: str, **env: str) -> Iterator[str]:
    port = free_port()
    ours = {name: value for name, value in os.environ.items() if not name.startswith("VOXQUEUE_")}
    named = {
        "VOXQUEUE_DATABASE_URL": str(settings.database.url),
        "VOXQUEUE_REDIS_URL": str(settings.redis.url),
        "VOXQUEUE_STORAGE_DIR": str(settings.storage.dir),
    }
    argv = [sys.executable, "-m", "voxqueue", "api", "--port", str(port), *words]
    with subprocess.Popen(argv, env={**ours, **named, **env}, cwd=ROOT, stderr=subprocess.DEVNULL) as server:
        try:
            give_up = time.monotonic() + 60
            while True:
                try:
                    httpx.get(f"http://127.0.0.1:{port}/livez")
                    break
                except httpx.TransportError:
                    assert server.poll() is None, "the API did not start"
                    assert time.monotonic() < give_up
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def test_on_loopback_the_api_asks_for_no_key(api_settings: Settings, sessions: Sessions) -> None:
    with running_api(api_settings) as url:
        assert httpx.get(f"{url}/v1/jobs").status_code == 200


def test_on_loopback_it_does_if_it_is_told_to(api_settings: Settings, sessions: Sessions) -> None:
    with running_api(api_settings, VOXQUEUE_API_KEYS="required") as url:
        assert httpx.get(f"{url}/v1/jobs").status_code == 401


def test_on_other_addresses_it_does(api_settings: Settings, sessions: Sessions) -> None:
    with running_api(api_settings, "--host", "0.0.0.0") as url:  # noqa: S104 - what is tested
        assert httpx.get(f"{url}/v1/jobs").status_code == 401


def test_it_refuses_to_start_open_on_other_addresses(api_settings: Settings) -> None:
    env = {
        "VOXQUEUE_DATABASE_URL": str(api_settings.database.url),
        "VOXQUEUE_REDIS_URL": str(api_settings.redis.url),
        "VOXQUEUE_API_KEYS": "open",
    }
    ran = voxqueue("api", "--host", "0.0.0.0", **env)  # noqa: S104 - what is tested
    assert ran.returncode == 1
    assert "refuses to start open on 0.0.0.0" in one_line(ran.stderr)
