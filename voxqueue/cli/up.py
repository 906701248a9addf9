"""``voxqueue up``: the whole stack in this terminal. The work is done in `voxqueue.embedded`."""

from pathlib import Path
from typing import Annotated

import typer


def up(
    data: Annotated[Path, typer.Option(help="Folder for all data; made if missing, kept when you stop")] = Path(
        ".voxqueue"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API")] = 8000,
    flower_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Flower")] = 5555,
    flower: Annotated[bool, typer.Option(help="Run Flower, which shows every task")] = True,
) -> None:
    """Run Postgres, Redis, the API, workers and Flower in this terminal until Ctrl-C.

    Nothing needs to be installed. A server whose VOXQUEUE_DATABASE_URL, VOXQUEUE_REDIS_URL, VOXQUEUE_S3_BUCKET or
    VOXQUEUE_STORAGE_DIR is set is used instead of an own one.
    """
    from voxqueue.embedded import run_stack
    from voxqueue.settings import settings

    settings()  # else every process would say what is wrong with them, again and again
    run_stack(data, port=port, flower_port=flower_port if flower else None)
