"""What all commands have in common: exit statuses, where words go, and one line for what goes wrong with the API.

Results go to standard output, everything else to standard error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from voxqueue.client import Client

FAILED = 1
UNREACHABLE = 3

Url = Annotated[
    str | None, typer.Option(help="Address of the API; else VOXQUEUE_URL, else http://127.0.0.1:8000", metavar="URL")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output")]


def complain(message: str) -> None:
    typer.echo(f"Error: {plain(message)}", err=True)


def remark(message: str) -> None:
    """Say something that is not the result."""
    typer.echo(plain(message), err=True)


def warn_of_unknown_variables() -> list[str]:
    """Say which variables of our environment look like settings and are none. Returns their names."""
    import os

    from voxqueue.settings.variables import unknown_variables

    unknown = unknown_variables(os.environ)
    for words in unknown.values():
        remark(f"Warning: {words}")
    return list(unknown)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    import json

    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def plain(text: str) -> str:
    """A text that others wrote, without what could steer a terminal."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")


def moment(at: datetime | None) -> str | None:
    """A time as we print it: UTC, to the second."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def writable(path: Path | None) -> Path | None:
    """Refuse a file that cannot be made, before any work is done for it. A callback of options."""
    if path is not None and not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.absolute().parent}")
    return path


@contextmanager
def connected(url: str | None, *, refused: int = FAILED) -> Iterator["Client"]:
    """A client for one command. What goes wrong with the API ends the command with one line.

    Args:
        url: As the user gave it.
        refused: The exit status for what is no `ServerUnreachable`.
    """
    from voxqueue.client import Client, ClientError, ServerUnreachable

    try:
        with Client(url) as client:
            yield client
    except ServerUnreachable as error:
        complain(str(error))
        raise typer.Exit(UNREACHABLE) from error
    except ClientError as error:
        complain(str(error))
        raise typer.Exit(refused) from error
