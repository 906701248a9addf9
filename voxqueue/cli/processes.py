"""``voxqueue api``, ``worker``, ``courier`` and ``migrate``: the processes of an installation.

The first three become another program in the same process, because nothing in this package may import the API or the
workers.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from voxqueue.serving import SERVER

if TYPE_CHECKING:
    from voxqueue.settings import ApiSettings

Name = Annotated[str | None, typer.Option(help="Shown in Flower and in the report; else STAGES-DEVICE-PID@HOST")]


def become(module: str, *arguments: str, env: Mapping[str, str] | None = None) -> NoReturn:
    """Turn this process into ``python -m module``.

    ``-P`` keeps the folder we stand in off the path: a folder of the user's called ``workers`` or ``api`` is not ours.
    """
    words = [sys.executable, "-P", "-m", module, *arguments]
    sys.stdout.flush()
    os.execve(sys.executable, words, {**os.environ, **(env or {})})  # noqa: S606 - no shell is the point


def api(
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on", metavar="PORT")] = 8000,
) -> None:
    """Run the API.

    It asks for API keys, but for one that listens on a loopback address and has VOXQUEUE_API_KEYS not set.
    """
    from voxqueue import tracing
    from voxqueue.listening import check_can_listen
    from voxqueue.settings import settings as read_settings

    settings = read_settings()  # what is missing is better said here than in a traceback of the server's
    settings.database.require_url()
    settings.redis.require_url()
    tracing.collector(os.environ)
    keys = keys_asked(host, settings.api)
    check_can_listen(host, port)
    ours = str(Path(__file__).resolve().parents[2])  # uvicorn would put the folder we stand in first
    listen = ("--host", host, "--port", str(port), "--timeout-graceful-shutdown", "10")
    become(*SERVER, "--app-dir", ours, *listen, env={"VOXQUEUE_API_KEYS": keys})


def keys_asked(host: str, settings: "ApiSettings") -> str:
    """Whether an API that listens there asks for keys. Raises `MisconfiguredError` for what would be open to others."""
    from voxqueue.errors import MisconfiguredError
    from voxqueue.keys.loopback import is_loopback

    if "keys" not in settings.model_fields_set:
        return "open" if is_loopback(host) else "required"
    if settings.keys == "open" and not is_loopback(host):
        raise MisconfiguredError(
            f"The API refuses to start open on {host}, where others can reach it. Set VOXQUEUE_API_KEYS=required and "
            "make a key with `voxqueue keys create`, or listen on 127.0.0.1."
        )
    return settings.keys


def _stages(text: str) -> str:
    from voxqueue.stages import Stage

    for name in text.split(","):
        if name not in list(Stage):
            raise typer.BadParameter(f"{name!r} is no stage; the stages are {', '.join(Stage)}, with commas between")
    return text


def worker(
    stages: Annotated[
        str, typer.Option(help="The stages it serves, comma-separated", metavar="STAGES", callback=_stages)
    ] = "stt,llm,tts",
    name: Name = None,
) -> None:
    """Run a worker, which takes jobs once it is warm.

    It loads its engines, has each of them do real work, and only then begins.
    """
    become("workers", "worker", "--stages", stages, *(("--name", name) if name else ()))


def courier(name: Name = None) -> None:
    """Run the courier: upkeep, and webhooks.

    It sees to lost leases and lost hints, removes what is past, and delivers webhooks. One is enough; more do no harm.
    """
    become("workers", "courier", *(("--name", name) if name else ()))


def migrate() -> None:
    """Bring the database to the newest schema."""
    from voxqueue.database.explained import explained
    from voxqueue.database.migrate import upgrade
    from voxqueue.settings import settings as read_settings

    url = read_settings().database.require_url()
    with explained(url):
        upgrade(url)
    typer.echo("The database has the newest schema.")
