"""What each engine needs before the contract tests can load it: settings, and a tiny model or a server at its wire.

An engine that is not listed needs nothing. To add one: a context manager that yields its settings, and a line below.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from voxqueue.settings import Settings

Prepare = Callable[[Path], AbstractContextManager[Settings]]
"""Takes an empty folder for files, yields settings with which the engine loads."""

PREPARE: dict[str, Prepare] = {}
