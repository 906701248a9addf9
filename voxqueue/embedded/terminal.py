"""``voxqueue up``: the stack in this terminal, which says how the fleet comes up, and where to look once it has."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from voxqueue.embedded.addresses import FILE
from voxqueue.embedded.stack import Stack, started, supervisor_for
from voxqueue.embedded.supervisor import Supervisor
from voxqueue.fleet import FleetState


def run_stack(data: Path, *, port: int = 8000, flower_port: int | None = 5555) -> None:
    """Run the stack in this terminal until Ctrl-C, SIGTERM or a closed terminal. A second Ctrl-C kills at once.

    Args:
        data: Made if missing; holds all data, which the next run finds again.
        port: The API's.
        flower_port: None leaves Flower out.

    Raises:
        MisconfiguredError: A port is taken, the folder is in use, a setting cannot be read, or a server is missing or
            does not start.
    """
    supervisor = supervisor_for(os.environ, sys.stdout)
    began = time.monotonic()
    with _signals_stop(supervisor), suppress(KeyboardInterrupt):
        supervisor.say(f"starting; data in {data.resolve()}")
        with started(supervisor, data, (port, flower_port), os.environ) as stack:
            _narrate(stack, data / FILE, began)
    supervisor.say("stopped")


@contextmanager
def _signals_stop(supervisor: Supervisor) -> Iterator[None]:
    """The first signal unwinds what we are doing, which stops all in order; the next one kills."""
    asked = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked or supervisor.stopping:
            supervisor.kill()
        else:
            asked = True
            raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, on_signal) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _narrate(stack: Stack, addresses: Path, began: float) -> None:
    """Say how the fleet comes up, where to look, and every change after that, until a signal ends it."""
    news, was_ready, was_shown = _News(), False, False
    while stack.supervisor.alive:
        ready, body = stack.readiness()
        if words := news.of(body):
            stack.supervisor.say(words)
        if ready and not was_ready:
            stack.supervisor.say(f"ready after {time.monotonic() - began:.1f} s")
            was_ready = True
        if not was_shown and (ready or body.get("state") == FleetState.ERROR):
            stack.supervisor.say(_where_to_look(stack, addresses))
            was_shown = True
        time.sleep(1 if ready else 0.3)


class _News:
    """What is new about the fleet since the last look. Each reason is said when it appears and when it goes."""

    def __init__(self) -> None:
        self._state = ""
        self._errors: list[str] = []
        self._reasons: list[str] = []

    def of(self, body: Mapping[str, Any]) -> str:
        """Lines; empty where nothing has changed. `body` is the report, empty while the API does not answer."""
        state, before, known = _in_words(body), self._reasons, self._errors
        if body:
            self._reasons = list(body.get("degraded_reasons") or ())
            # Until then, an error may be of an engine that is passed over for the next one.
            self._errors = list(body.get("errors") or ()) if body.get("state") == FleetState.ERROR else []
        lines = [
            *([state] if state != self._state else []),
            *(f"  error: {error}" for error in self._errors if error not in known),
            *(f"  degraded: {reason}" for reason in self._reasons if reason not in before),
            *(f"  no longer degraded: {reason}" for reason in before if reason not in self._reasons),
        ]
        self._state = state
        return "\n".join(lines)


def _in_words(body: Mapping[str, Any]) -> str:
    if not body:
        return "waiting for the API"
    services: Mapping[str, Mapping[str, Any]] = body.get("services") or {}
    stages = (
        f"{stage} {it.get('status')}" + (f" ({engine})" if (engine := it.get("engine")) else "")
        for stage, it in services.items()
    )
    return f"{body.get('state')}: {', '.join(stages)}"


def _how_to_call(stack: Stack, addresses: Path) -> Iterator[str]:
    note = f"-F file=@note.ogg {stack.api_url}/v1/voice-notes"
    if stack.env.get("VOXQUEUE_API_KEYS") != "required":
        yield f"  Try        curl {note}"
        return
    if "VOXQUEUE_DATABASE_URL" not in os.environ:
        yield f"  Database   . {shlex.quote(str(addresses))}"
    yield "  Key        voxqueue keys create --name me"
    yield f'  Try        curl -H "Authorization: Bearer KEY" {note}'


def _where_to_look(stack: Stack, addresses: Path) -> str:
    lines = [
        f"  Page       {stack.api_url}/",
        f"  API        {stack.api_url}/docs",
        f"  Readiness  {stack.api_url}/api/ready",
        f"  Flower     {stack.flower_url}" if stack.flower_url else "",
        *_where_metrics_are(stack),
        *_how_to_call(stack, addresses),
        "  Stop       Ctrl-C; the data stays",
    ]
    return "\n".join(line for line in lines if line)


def _where_metrics_are(stack: Stack) -> Iterator[str]:
    if not stack.metrics_urls:
        yield f"  Metrics    {stack.api_url}/metrics of the API; the others' need VOXQUEUE_METRICS_PORT"
    for number, (name, url) in enumerate(stack.metrics_urls.items()):
        yield f"  {'' if number else 'Metrics':<11}{url} of {name}"
