"""Where the servers of a running stack are, in a file that a shell reads: for commands that are used beside it."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from voxqueue.urls import for_psql

FILE = "servers.env"
_ABOUT = "# Of the `voxqueue up` that runs here. Not for the terminal in which you start it the next time.\n"


@contextmanager
def written_down(folder: Path, servers: Mapping[str, str]) -> Iterator[None]:
    """Keep a file with these variables in the folder until the block ends; no file where there are none.

    Only its owner may read it: one of them holds a password.
    """
    file = folder / FILE
    file.unlink(missing_ok=True)  # what a `kill -9` has left
    if servers:
        file.touch(mode=0o600)
        lines = (f"export {name}={shlex.quote(for_psql(value))}\n" for name, value in servers.items())
        file.write_text(_ABOUT + "".join(lines))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
