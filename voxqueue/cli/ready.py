"""``voxqueue ready``: is the fleet warm? For people, for deployment scripts, and for the demo."""

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from voxqueue.cli.console import UNREACHABLE, AsJson, Url, complain, connected, plain, print_json, remark
from voxqueue.cli.here import here

if TYPE_CHECKING:
    from voxqueue.client import Client, ReadyReport

NOT_YET = 1
ERROR = 2

app = typer.Typer(
    help="Ask whether the workers are warm. Status: 0 ready, 1 not yet, 2 error, 3 no API answers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command()(here)

Timeout = Annotated[float, typer.Option(min=0, help="Seconds to wait at most", metavar="SECONDS")]


@app.command()
def check(as_json: AsJson = False, url: Url = None) -> None:
    """Say how the fleet stands right now."""
    with connected(url, refused=ERROR) as client:
        _conclude(client.ready(), as_json)


@app.command()
def wait(timeout: Timeout = 300, as_json: AsJson = False, url: Url = None) -> None:
    """Wait until the fleet is ready, has failed, or the time is over."""
    with connected(url, refused=ERROR) as client:
        report = watch(client, timeout)
    if report is None:
        complain(f"No Voxqueue API answered within {timeout:g} s at {client.base_url}.")
        raise typer.Exit(UNREACHABLE)
    _conclude(report, as_json)


@app.command("test")
def golden(timeout: Timeout = 120, as_json: AsJson = False, url: Url = None) -> None:
    """Send a note through all three stages and check what comes back. The note is spoken by the fleet itself."""
    from voxqueue.client import WaitTimeout

    with connected(url, refused=ERROR) as client:
        report = client.ready()
        cold = [stage for stage, service in report.services.items() if not service.ready]
        if cold or not report.ready:
            remark(f"The fleet is not ready for a test: {', '.join(cold) or report.state}.")
            _conclude(report, as_json=False)
            raise typer.Exit(NOT_YET)
        try:
            _send_golden_note(client, timeout, as_json)
        except WaitTimeout as error:
            complain(str(error))
            raise typer.Exit(NOT_YET) from error


def _send_golden_note(client: "Client", timeout: float, as_json: bool) -> None:
    from voxqueue.cli.job import show
    from voxqueue.demo import speak

    end = time.monotonic() + timeout
    recording = speak(client, timeout=timeout)
    job = client.wait(client.send_note(recording), timeout=max(0.0, end - time.monotonic())).raise_for_state()
    if as_json:
        print_json(job.model_dump(mode="json"))
    else:
        show(job, "checked")
    missing = [
        name
        for name, there in (
            ("transcript", job.transcript and job.transcript.text.strip()),
            ("reply", job.reply and job.reply.text.strip()),
            ("speech", client.audio(job.id)),
        )
        if not there
    ]
    if missing:
        complain(f"Job {job.id} succeeded, but made no {' and no '.join(missing)}.")
        raise typer.Exit(ERROR)
    client.delete(job.id)
    remark("The fleet works: one note went through every stage.")


def watch(client: "Client", timeout: float) -> "ReadyReport | None":
    """Show how the fleet warms up until it is ready, has failed or the time is over. None: the API never answered."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from voxqueue.client import ApiError, ServerUnreachable

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("", total=100)
    report, said = None, ""
    end = time.monotonic() + timeout
    with bar if console.is_terminal else nullcontext():
        while True:
            try:
                report = client.ready()
            except (ServerUnreachable, ApiError) as error:
                if isinstance(error, ApiError) and error.status != 503:
                    raise
            words = _in_words(report)
            left = _left(report) if report else ""
            bar.update(task, description=f"{words}  {left}".rstrip(), completed=report.progress if report else 0)
            if words != said and not console.is_terminal:
                remark(f"  {words}")
            said = words
            if (report and (report.ready or report.state == "ERROR")) or time.monotonic() >= end:
                return report
            time.sleep(min(0.3, max(0.0, end - time.monotonic())))


def _in_words(report: "ReadyReport | None") -> str:
    if report is None:
        return "waiting for the API"
    stages = ", ".join(
        f"{stage} {service.status}" + (f" ({service.detail})" if service.detail else "")
        for stage, service in report.services.items()
    )
    return plain(f"{report.state}: {stages}")


def _left(report: "ReadyReport") -> str:
    """How long it will still take, where that is known."""
    eta = report.eta_s
    return f"about {eta.p50:.0f} s left, {eta.p90:.0f} s at most" if eta and eta.p90 >= 1 else ""


def _conclude(report: "ReadyReport", as_json: bool) -> None:
    """Print the report and exit with its status."""
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _show(report)
    if not report.ready:
        raise typer.Exit(ERROR if report.state == "ERROR" else NOT_YET)


def _show(report: "ReadyReport") -> None:
    typer.echo(f"{report.state}  {report.progress} %  {_left(report)}".rstrip())
    for stage, service in report.services.items():
        words = (service.engine, service.model, service.device, "" if service.critical else "(not critical)")
        typer.echo(plain(f"  {stage:<4} {service.status:<8} {' '.join(word for word in words if word)}".rstrip()))
    for reason in report.degraded_reasons:
        typer.echo(plain(f"  degraded: {reason}"))
    for error in report.errors:
        typer.echo(plain(f"  error: {error}"))
