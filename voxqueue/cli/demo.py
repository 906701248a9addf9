"""``voxqueue demo``: the whole stack for one note, in a temporary folder, and nothing left behind but the reply."""

import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from voxqueue.cli.console import FAILED, AsJson, complain, remark, warn_of_unknown_variables, writable
from voxqueue.errors import EngineUnusable, Unavailable, VoxqueueError

if TYPE_CHECKING:
    from voxqueue.client import Client, Job

_WARM_S = 300.0
_JOB_S = 600.0  # a slow machine takes its time, and what fails says so before
_LOG_LINES = 30
# The demo brings its own servers: a note must not end up in the database that our environment names.
_OWN_SERVERS = dict.fromkeys(
    ("VOXQUEUE_DATABASE_URL", "VOXQUEUE_REDIS_URL", "VOXQUEUE_S3_BUCKET", "VOXQUEUE_STORAGE_DIR"), ""
) | {"VOXQUEUE_API_KEYS": "open"}  # there are no keys in its database


def demo(
    note: Annotated[
        Path | None, typer.Option(help="A recording; else the demo speaks one", exists=True, dir_okay=False)
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="File for the spoken reply; else a temporary one, which stays", callback=writable),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send one note through the whole stack.

    Starts everything in a temporary folder, shows what comes back, and stops everything.
    """
    with (
        _signals_unwind(),
        tempfile.TemporaryDirectory(prefix="voxqueue-", ignore_cleanup_errors=True) as folder,
        _explained(Path(folder, "stack.log")),
    ):
        _run(Path(folder), note, save, as_json)


def _run(folder: Path, note: Path | None, save: Path | None, as_json: bool) -> None:
    from voxqueue.audio.probe import probe
    from voxqueue.client import Client
    from voxqueue.embedded import running_stack
    from voxqueue.settings import settings

    # What is wrong with settings or note is better said before anything is started.
    limits = settings().limits
    warn_of_unknown_variables()
    if note:
        with note.open("rb") as recording:
            probe(recording, max_seconds=limits.note_seconds, min_seconds=limits.note_min_seconds)
    remark("Starting Postgres, Redis, the API and a worker")
    with (
        running_stack(folder, env=_OWN_SERVERS, ready_s=None, durable=False) as stack,
        _explained(stack.log_path),  # before the log tells of the end only
        Client(stack.api_url) as client,
    ):
        _await_warm(client)
        _send(client, note, save, as_json)
        remark("\nStopping")


def _send(client: "Client", note: Path | None, save: Path | None, as_json: bool) -> None:
    from voxqueue.cli.job import Narrator, present

    recording = note or _speak(client)
    remark(f"Sending {note or 'it as a voice note'}")
    job = client.wait(client.send_note(recording), timeout=_JOB_S, on_change=Narrator())
    remark("")
    present(client, job, save=save or _place_for(job), as_json=as_json, with_error=False)
    job.raise_for_state()


def _await_warm(client: "Client") -> None:
    from voxqueue.cli.ready import watch

    report = watch(client, _WARM_S)
    if report is None or not report.ready:
        services = report.services.items() if report else ()
        failed = [f"{stage}: {it.error}" for stage, it in services if it.status == "failed" and it.error]
        if failed:
            raise EngineUnusable(" ".join(failed))
        why = f"still {report.state} after {_WARM_S:g} s" if report else "no API answered"
        raise Unavailable(f"The workers did not become ready: {why}.")
    engines = ", ".join(f"{stage} {service.engine}" for stage, service in report.services.items())
    remark(f"Ready: {engines}")
    for reason in report.degraded_reasons:
        remark(f"  note: {reason}")


def _speak(client: "Client") -> bytes:
    from voxqueue.demo import SENTENCE, speak

    remark(f'Having a worker speak "{SENTENCE}"')
    return speak(client, timeout=_JOB_S)


def _place_for(job: "Job") -> Path | None:
    """A file that outlives the demo's folder, if there is something to put there."""
    if job.audio is None:
        return None
    suffix = job.audio.format or "audio"
    return Path(tempfile.mkdtemp(prefix="voxqueue-reply-"), f"reply.{suffix}")


@contextmanager
def _explained(log: Path | None) -> Iterator[None]:
    """End with one line for what goes wrong, and with what the processes said last."""
    from voxqueue.client import ApiError, ClientError

    try:
        yield
    except (VoxqueueError, ClientError) as error:
        time.sleep(0.2)  # what a process has just said takes a moment to the log
        # To a request that was refused, and to why engines cannot be used, the log has nothing to add.
        enough = isinstance(error, EngineUnusable) or (isinstance(error, ApiError) and error.status < 500)
        said = log.read_text(errors="replace").strip() if log and log.exists() and not enough else ""
        if said:
            remark("The last lines of the log:\n{}\n".format("\n".join(said.splitlines()[-_LOG_LINES:])))
        complain(error.detail if isinstance(error, VoxqueueError) else str(error))
        raise typer.Exit(FAILED) from error


class _Signalled(BaseException):
    """A signal asked us to end. Not an `Exception`, so that nobody on the way takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """The first signal unwinds what we are doing, which ends every process. That takes seconds at most, so later
    signals are ignored rather than let them leave something behind."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise _Signalled(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, on_signal) for number in numbers]
    try:
        yield
    except _Signalled as signalled:
        remark(f"Stopped by {signal.Signals(signalled.number).name}; nothing is left running.")
        raise typer.Exit(128 + signalled.number) from None
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
