"""Servers for commands to ask, and an address without one."""

from collections.abc import Iterator

import pytest

from tests.wire import Asked, Said, Wire, fleet, job, serving
from voxqueue.embedded.processes import free_port


@pytest.fixture
def nobody() -> str:
    """An address where nobody answers."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A warm fleet where every job has already succeeded, but those whose text says otherwise."""

    def answer(asked: Asked) -> Said:
        if asked.path == "/api/ready":
            return Said.json(fleet())
        if asked.path.endswith("/audio"):
            return Said(body=b"speech")
        if asked.method == "POST" and b'"bad"' in asked.body:  # quoted: a form's boundary is of chance letters
            return Said.problem(422, "invalid-request", "This text\nis bad.")
        if asked.method == "POST":
            return Said.json(job("queued", "stt", audio=None), 202)
        return Said(204) if asked.method == "DELETE" else Said.json(job())

    with serving(answer) as wire:
        yield wire
