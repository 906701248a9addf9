"""What commands say of settings that lead nowhere: one line with the place, the reason, and what to change."""

import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from tests.command import one_line, voxqueue
from voxqueue.cli.main import app
from voxqueue.database.explained import explained
from voxqueue.embedded.processes import free_port
from voxqueue.errors import DatabaseUnavailable, MisconfiguredError
from voxqueue.listening import check_can_listen

pytestmark = pytest.mark.integration

_SERVERS = {"VOXQUEUE_DATABASE_URL": "postgresql://h/name", "VOXQUEUE_REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("command", ["api", "flower"])
def test_a_taken_port_is_one_line_that_names_the_option(command: str, taken: int) -> None:
    """The servers themselves print a traceback, or lines that name no option of ours."""
    ran = voxqueue(command, "--port", str(taken), **_SERVERS)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert one_line(ran.stderr) == f"Error: Port {taken} is taken by another program: choose another with --port.\n"


def test_an_address_of_another_machine_is_no_place_to_listen() -> None:
    ran = voxqueue("api", "--host", "192.0.2.1", "--port", str(free_port()), **_SERVERS)
    assert one_line(ran.stderr) == "Error: 192.0.2.1 is no address of this machine: choose another --host.\n"
    ran = voxqueue("api", "--host", "nowhere.invalid", "--port", str(free_port()), **_SERVERS)
    assert one_line(ran.stderr) == "Error: nowhere.invalid is no address to listen on: choose another --host.\n"


def test_addresses_of_a_kind_that_this_machine_lacks_are_left_out(monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    """Without IPv6, `localhost` may still have two addresses; servers listen on the one that there is."""
    lacking, there = 9_999, socket.AF_INET

    def both(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(family, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for family in (lacking, there)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    check_can_listen("localhost", free_port())
    with pytest.raises(MisconfiguredError, match="is taken by another program"):
        check_can_listen("localhost", taken)


def told_of(url: str, *words: str) -> str:
    ran = voxqueue(*words, VOXQUEUE_DATABASE_URL=url)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "geheim" not in ran.stderr
    return one_line(ran.stderr)


@pytest.mark.parametrize("words", [("keys", "list"), ("migrate",)])
def test_a_database_that_cannot_be_used_is_named_with_its_own_reason(postgres: str, words: tuple[str, ...]) -> None:
    """That it does not answer leaves open whether the host, the name or the password is wrong."""
    query = postgres.partition("?")[2]
    unknown = told_of(f"postgresql://postgres@/nonesuch?{query}", *words)
    assert f"The database postgresql://postgres@/nonesuch?{query} cannot be used: " in unknown
    assert 'database "nonesuch" does not exist' in unknown

    stranger = told_of(f"postgresql://stranger:geheim@/voxqueue?{query}", *words)
    assert "postgresql://stranger:***@/voxqueue" in stranger
    assert 'role "stranger" does not exist' in stranger

    port = free_port()
    away = told_of(f"postgresql://me:geheim@127.0.0.1:{port}/voxqueue", *words)
    assert f"postgresql://me:***@127.0.0.1:{port}/voxqueue cannot be used: " in away
    assert "Connection refused" in away
    assert "VOXQUEUE_DATABASE_URL" in away


def test_a_password_that_is_wrong_is_said_to_be() -> None:
    """The servers of tests trust whoever reaches their socket, so what Postgres says stands here in its own words."""
    said = psycopg.errors.InvalidPassword('FATAL:  password authentication failed for user "me"')
    with (
        pytest.raises(DatabaseUnavailable, match=r"me:\*\*\*@db/name cannot be used: FATAL:  password authentication"),
        explained("postgresql+psycopg://me:geheim@db/name"),
    ):
        raise OperationalError("SELECT 1", None, said)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (None, "No Redis"),
        ("localhost:6379", "must begin with redis://"),
        ("redis://localhost:six/0", "no number where the port belongs"),
    ],
)
def test_a_health_check_that_knows_no_redis_calls_no_worker_ill(url: str | None, words: str) -> None:
    """Status 1 would have the container of a worker started again, that nobody has asked how it is."""
    ran = voxqueue("ready", "here", **({} if url is None else {"VOXQUEUE_REDIS_URL": url}))
    assert (ran.returncode, ran.stdout) == (3, "")
    assert words in one_line(ran.stderr)
    assert "VOXQUEUE_REDIS_URL" in ran.stderr
    assert ("`voxqueue ready check`" in ran.stderr) == (url is None), "what those want who ask beside `voxqueue up`"


def test_a_stack_does_not_start_on_servers_that_are_not_there(tmp_path: Path) -> None:
    """They are not its own, so it cannot start them; without words its processes would only try again and again."""
    port = free_port()
    up = ("up", "--data", str(tmp_path / "data"), "--port", str(free_port()), "--no-flower")
    ran = voxqueue(*up, VOXQUEUE_DATABASE_URL=f"postgresql://me:geheim@127.0.0.1:{port}/voxqueue")
    said = one_line(ran.stderr)
    assert ran.returncode == 1
    assert f"postgresql://me:***@127.0.0.1:{port}/voxqueue cannot be used: " in said
    assert "VOXQUEUE_DATABASE_URL" in said
    ran = voxqueue(*up, VOXQUEUE_REDIS_URL=f"redis://:geheim@127.0.0.1:{port}/0")
    said = one_line(ran.stderr)
    assert ran.returncode == 1
    assert f"redis://:***@127.0.0.1:{port}/0 cannot be used: " in said
    assert "VOXQUEUE_REDIS_URL" in said


def test_data_that_is_no_folder_is_no_traceback(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.touch()
    ran = voxqueue("up", "--data", str(file), "--port", str(free_port()), "--no-flower")
    assert ran.returncode == 1
    assert one_line(ran.stderr) == f"Error: The folder {file} cannot be made: File exists. Choose another.\n"


def test_a_port_of_a_database_that_is_no_number_is_no_traceback() -> None:
    said = told_of("postgresql://me:geheim@127.0.0.1:port/voxqueue", "keys", "list")
    assert "VOXQUEUE_DATABASE_URL has no number where the port belongs" in said


def help_of(*words: str) -> str:
    ran = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"})
    assert ran.exit_code == 0
    return ran.stdout


def test_the_help_of_job_says_what_an_id_alone_does() -> None:
    assert "`voxqueue job ID` is short for `voxqueue job show ID`" in " ".join(help_of("job").split())


@pytest.mark.parametrize("words", [(), ("webhooks",), ("keys",), ("ready",), ("models",)])
def test_a_list_of_commands_breaks_off_in_no_sentence(words: tuple[str, ...]) -> None:
    commands = help_of(*words).partition("Commands:")[2]
    assert commands
    assert "..." not in commands
