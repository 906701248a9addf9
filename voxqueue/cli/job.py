"""``voxqueue job``, and how a job is shown wherever one is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from voxqueue.cli.console import AsJson, Url, connected, plain, print_json, remark, writable

if TYPE_CHECKING:
    from voxqueue.client import Client, ClientError, Job, StageRun

Wait = Annotated[bool, typer.Option("--wait", help="Stay until the job is finished; status 1 if it failed")]
Timeout = Annotated[float | None, typer.Option(min=0, help="Seconds to wait at most", metavar="SECONDS")]
Save = Annotated[
    Path | None,
    typer.Option(help="File for the speech; implies --wait", dir_okay=False, callback=writable, metavar="FILE"),
]


Id = Annotated[str, typer.Argument(metavar="ID", help="The job's id")]


class _Commands(TyperGroup):
    """What can be done with a job; an id alone shows it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Commands,
    help="Show a job, or try one again that has failed. `voxqueue job ID` is short for `voxqueue job show ID`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("show")
def look(
    job_id: Id,
    wait: Wait = False,
    timeout: Timeout = None,
    save: Save = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show a job, and what it has made so far."""
    with connected(url) as client:
        conclude(client, client.job(job_id), wait=wait, timeout=timeout, save=save, as_json=as_json)


@app.command()
def retry(
    job_id: Id,
    wait: Wait = False,
    timeout: Timeout = None,
    save: Save = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Queue a job again that has failed or been canceled. The stages that it has finished are not repeated."""
    with connected(url) as client:
        conclude(client, client.retry(job_id), wait=wait, timeout=timeout, save=save, as_json=as_json)


def conclude(
    client: "Client", job: "Job", *, wait: bool, timeout: float | None, save: Path | None, as_json: bool
) -> None:
    """Wait for a job if asked to, then show it. A job that was waited for and failed raises `JobFailed`."""
    wait = wait or save is not None
    if wait:
        narrator = Narrator()
        job = client.wait(job, timeout=timeout, on_change=narrator, on_quiet=narrator.nothing_new)
    present(client, job, save=save, as_json=as_json)
    if wait:
        job.raise_for_state()


def present(client: "Client", job: "Job", *, save: Path | None, as_json: bool) -> None:
    """Store the job's speech under a path, if there is speech and a path, and print the job."""
    path = str(client.save_audio(job.id, save)) if save is not None and job.audio is not None else None
    if save is not None and job.audio is None and job.is_finished:
        remark(f"This job has no speech, so there is nothing to save in {save}.")
    if as_json:
        print_json(job.model_dump(mode="json") | ({} if path is None else {"audio_path": path}))
    else:
        link = job.links.get("audio")
        show(job, path or (f"{client.base_url}{link}" if link else None))


class Narrator:
    """Says each change of a job's stages; give it to `Client.wait` as `on_change`."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def __call__(self, job: "Job") -> None:
        for run in job.stages:
            if run.state != self._last.get(run.stage, "pending"):
                remark(f"  {run.stage:<4} {_how(run)}")
            self._last[run.stage] = run.state

    @staticmethod
    def nothing_new(seconds: float, job: "Job | None", error: "ClientError | None") -> None:
        """Say why it takes so long, as far as that can be seen from here; give it to `Client.wait` as `on_quiet`."""
        if error is not None:
            remark(f"  still trying after {seconds:.0f} s: {error}")
        elif job is not None and job.state == "queued":
            remark(f"  queued, and nothing new for {seconds:.0f} s. Is there a warm worker? Ask `voxqueue ready`.")
        elif job is not None:
            remark(f"  {job.state}, and nothing new for {seconds:.0f} s")


def show(job: "Job", audio: str | None) -> None:
    """Print what there is of a job; `audio` says where its speech lies."""
    _line("job", f"{job.id} ({job.kind})")
    _line("state", job.state)
    for run in () if job.is_finished else job.stages:
        _line(f"  {run.stage}", _how(run))
    if job.transcript is not None:
        _line("transcript", job.transcript.text or "(silence)")
    if job.reply is not None:
        _line("reply", job.reply.text)
    if job.audio is not None:
        length = f" ({job.audio.seconds:.1f} s)" if job.audio.seconds is not None else ""
        _line("audio", f"{audio or 'kept by the API'}{length}")
    for how in job.degradations:
        _line("degraded", how)
    if job.error is not None:
        _line("error", f"{job.error.title}: {job.error.detail}")


def _line(name: str, value: str) -> None:
    typer.echo(f"{name:<11}{plain(value)}")


def _how(run: "StageRun") -> str:
    reason = f": {run.reason}" if run.reason else ""
    if run.state != "succeeded":
        share = f", {run.progress} % done" if run.state == "running" and run.progress else ""
        return f"{run.state}{share}{reason}"
    took = f" in {run.run_ms:.0f} ms" if run.run_ms is not None else ""
    engine = f" by {run.engine}" if run.engine else ""
    batch = f", {run.batch_size} in one batch" if run.batch_size and run.batch_size > 1 else ""
    return f"done{took}{engine}{batch}{reason}"
