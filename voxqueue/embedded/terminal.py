"""``voxqueue up``: the stack in this terminal, which says how the fleet comes up, and where to look once it has."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from voxqueue.embedded.stack import Stack, started, supervisor_for
from voxqueue.embedded.supervisor import Supervisor
from voxqueue.urls import for_psql


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
            _narrate(stack, began)
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


def _narrate(stack: Stack, began: float) -> None:
    """Say how the fleet comes up, where to look, and every change after that, until a signal ends it."""
    said, welcomed = "", False
    while stack.supervisor.alive:
        ready, body = stack.readiness()
        words = _in_words(body)
        if words != said:
            stack.supervisor.say(words)
            said = words
        if ready and not welcomed:
            stack.supervisor.say(_welcome(stack, time.monotonic() - began))
            welcomed = True
        time.sleep(1 if ready else 0.3)


def _in_words(body: Mapping[str, Any]) -> str:
    if not body:
        return "waiting for the API"
    services: Mapping[str, Mapping[str, Any]] = body.get("services") or {}
    stages = (
        f"{stage} {it.get('status')}" + (f" ({engine})" if (engine := it.get("engine")) else "")
        for stage, it in services.items()
    )
    reasons = (f"  degraded: {reason}" for reason in body.get("degraded_reasons") or ())
    return "\n".join([f"{body.get('state')}: {', '.join(stages)}", *reasons])


def _how_to_call(stack: Stack) -> Iterator[str]:
    note = f"-F file=@note.ogg {stack.api_url}/v1/voice-notes"
    if stack.env.get("VOXQUEUE_API_KEYS") != "required":
        yield f"  Try        curl {note}"
        return
    if "VOXQUEUE_DATABASE_URL" not in os.environ:  # else it is known, and may hold a password
        yield f"  Database   export VOXQUEUE_DATABASE_URL='{for_psql(stack.env['VOXQUEUE_DATABASE_URL'])}'"
    yield "  Key        voxqueue keys create --name me"
    yield f'  Try        curl -H "Authorization: Bearer KEY" {note}'


def _welcome(stack: Stack, seconds: float) -> str:
    lines = [
        f"ready after {seconds:.1f} s",
        f"  Page       {stack.api_url}/",
        f"  API        {stack.api_url}/docs",
        f"  Readiness  {stack.api_url}/api/ready",
        f"  Flower     {stack.flower_url}" if stack.flower_url else "",
        *_where_metrics_are(stack),
        *_how_to_call(stack),
        "  Stop       Ctrl-C; the data stays",
    ]
    return "\n".join(line for line in lines if line)


def _where_metrics_are(stack: Stack) -> Iterator[str]:
    if not stack.metrics_urls:
        yield f"  Metrics    {stack.api_url}/metrics of the API; the others' need VOXQUEUE_METRICS_PORT"
    for number, (name, url) in enumerate(stack.metrics_urls.items()):
        yield f"  {'' if number else 'Metrics':<11}{url} of {name}"
