"""``voxqueue up``: the whole stack in this terminal. The work is done in `voxqueue.embedded`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from voxqueue.cli.console import warn_of_unknown_variables


def up(
    data: Annotated[Path, typer.Option(help="Folder for all data; made if missing, kept when you stop")] = Path(
        ".voxqueue"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API", metavar="PORT")] = 8000,
    flower_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Flower", metavar="PORT")] = 5555,
    flower: Annotated[bool, typer.Option(help="Run Flower, which shows every task")] = True,
) -> None:
    """Run the whole of Voxqueue in this terminal.

    That is Postgres, Redis, the API, a worker, the courier and Flower. Ctrl-C stops them in order, another at once;
    the data stays.

    Nothing needs to be installed. A server whose VOXQUEUE_DATABASE_URL, VOXQUEUE_REDIS_URL, VOXQUEUE_S3_BUCKET or
    VOXQUEUE_STORAGE_DIR is set is used instead of an own one.
    """
    from voxqueue.embedded import run_stack
    from voxqueue.settings import settings

    settings()  # else every process would say what is wrong with them, again and again
    for name in warn_of_unknown_variables():
        del os.environ[name]  # for the same reason
    run_stack(data, port=port, flower_port=flower_port if flower else None)
