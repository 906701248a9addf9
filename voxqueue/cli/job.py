"""``voxqueue job``: shows, waits for, cancels, retries and deletes one; and how a job is shown wherever one is."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from voxqueue.cli.console import AsJson, Url, connected, plain, print_json, remark, writable
from voxqueue.cli.sound_files import check_fits

if TYPE_CHECKING:
    from voxqueue.client import Client, ClientError, Job, StageRun

Wait = Annotated[bool, typer.Option("--wait", help="Stay until the job is finished; status 1 if it failed")]
Timeout = Annotated[float | None, typer.Option(min=0, help="Seconds to wait at most", metavar="SECONDS")]
Save = Annotated[
    Path | None,
    typer.Option(
        help="File for the speech, such as reply.mp3; implies --wait", dir_okay=False, callback=writable, metavar="FILE"
    ),
]
TranscriptFormat = Literal["text", "srt", "vtt", "json"]
AsTranscript = Annotated[
    TranscriptFormat | None,
    typer.Option("--transcript", help="Print the transcript like this, and nothing else; implies --wait"),
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
    help="Show a job, cancel it, retry or delete it. `voxqueue job ID` is short for `voxqueue job show ID`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("show")
def look(
    job_id: Id,
    wait: Wait = False,
    timeout: Timeout = None,
    save: Save = None,
    transcript: AsTranscript = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show a job, and what it has made so far."""
    check_output(transcript, as_json=as_json)
    with connected(url) as client:
        job = client.job(job_id)
        check_fits(save, job.audio_format)
        conclude(client, job, wait=wait, timeout=timeout, save=save, transcript=transcript, as_json=as_json)


@app.command()
def retry(
    job_id: Id,
    wait: Wait = False,
    timeout: Timeout = None,
    save: Save = None,
    transcript: AsTranscript = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Queue a job again that has failed or been canceled. The stages that it has finished are not repeated."""
    check_output(transcript, as_json=as_json)
    with connected(url) as client:
        if save is not None:
            check_fits(save, client.job(job_id).audio_format)
        job = client.retry(job_id)
        conclude(client, job, wait=wait, timeout=timeout, save=save, transcript=transcript, as_json=as_json)


@app.command()
def cancel(job_id: Id, as_json: AsJson = False, url: Url = None) -> None:
    """End a job that has not finished. What it has made so far stays."""
    with connected(url) as client:
        present(client, client.cancel(job_id), save=None, as_json=as_json)


@app.command()
def delete(job_id: Id, url: Url = None) -> None:
    """Remove a job in any state, its recording and what it has made."""
    with connected(url) as client:
        client.delete(job_id)
    remark(f"Job {job_id} is deleted.")


def check_output(transcript: str | None, *, as_json: bool) -> None:
    """Refuse to print two things where each is to stand alone. Raises `typer.BadParameter`."""
    if transcript is not None and as_json:
        raise typer.BadParameter("it prints the transcript alone, so leave --json out", param_hint="--transcript")


def conclude(
    client: "Client",
    job: "Job",
    *,
    wait: bool,
    timeout: float | None,
    save: Path | None,
    transcript: TranscriptFormat | None = None,
    as_json: bool,
) -> None:
    """Wait for a job if asked to, then show it. A job that was waited for and failed raises `JobFailed`."""
    wait = wait or save is not None or transcript is not None
    if wait and not job.is_finished:
        job = _finished(client, job, timeout)
    if transcript is None:
        present(client, job, save=save, as_json=as_json, with_error=not wait)
    else:
        _save(client, job, save)
        if job.transcript is None:
            job.raise_for_state()  # says why there is none
        typer.echo(plain(client.transcript(job.id, transcript)).rstrip("\n"))
    if wait:
        job.raise_for_state()


def present(client: "Client", job: "Job", *, save: Path | None, as_json: bool, with_error: bool = True) -> None:
    """Store the job's speech under a path, if there is speech and a path, and print the job.

    `with_error` is for those who do not say themselves why it failed.
    """
    path = _save(client, job, save)
    if as_json:
        print_json(job.model_dump(mode="json") | ({} if path is None else {"audio_path": path}))
    else:
        link = job.links.get("audio")
        show(job, path or (f"{client.base_url}{link}" if link else None), with_error=with_error)


def _save(client: "Client", job: "Job", save: Path | None) -> str | None:
    """Store the job's speech, if there is speech and a path. Returns where it lies then."""
    if save is not None and job.audio is not None:
        return str(client.save_audio(job.id, save))
    if save is not None and job.is_finished:
        remark(f"This job has no speech, so there is nothing to save in {save}.")
    return None


def _finished(client: "Client", job: "Job", timeout: float | None) -> "Job":
    """Wait for the job, and say meanwhile how it goes. Raises `WaitTimeout`, which says what it waits for."""
    from voxqueue.client import WaitTimeout

    try:
        return client.wait(job, timeout=timeout, on_change=Narrator(), on_quiet=partial(_nothing_new, client))
    except WaitTimeout as error:
        if error.job is None or not (lack := _lack(client, error.job)):
            raise
        raise WaitTimeout(f"Job {job.id} was not finished after {timeout:g} s: {lack}.", error.job) from error


def _nothing_new(client: "Client", seconds: float, job: "Job | None", error: "ClientError | None") -> None:
    """Say why it takes so long, as far as that can be seen from here."""
    if error is not None:
        remark(f"  still trying after {seconds:.0f} s: {error}")
    elif job is not None:
        remark(f"  nothing new for {seconds:.0f} s: {_lack(client, job) or f'it is {job.state}'}")


def _lack(client: "Client", job: "Job") -> str:
    """What a queued job waits for in vain; empty where a worker will come to it, or nobody can say."""
    from voxqueue.client import ClientError

    if job.state != "queued" or job.stage is None:
        return ""
    try:
        report = client.ready(stage=job.stage, min_warm=1)
    except ClientError:  # whoever waits for the job learns by itself that the API is away
        return ""
    return "" if report.ready else f"no worker has {job.stage} warm, as `voxqueue ready check` explains"


class Narrator:
    """Says each change of a job's stages; give it to `Client.wait` as `on_change`."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def __call__(self, job: "Job") -> None:
        for run in job.stages:
            if run.state != self._last.get(run.stage, "pending"):
                remark(f"  {run.stage:<4} {_how(run)}")
            self._last[run.stage] = run.state


def show(job: "Job", audio: str | None, *, with_error: bool = True) -> None:
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
    if job.error is not None and with_error:
        _line("error", f"{job.error.title}: {job.error.detail}")


def _line(name: str, value: str) -> None:
    typer.echo(f"{name:<11}{plain(value)}")


def _how(run: "StageRun") -> str:
    if run.state == "failed":
        return "failed"  # the job's error says why
    reason = f": {run.reason}" if run.reason else ""
    if run.state != "succeeded":
        share = f", {run.progress} % done" if run.state == "running" and run.progress else ""
        return f"{run.state}{share}{reason}"
    took = f" in {run.run_ms:.0f} ms" if run.run_ms is not None else ""
    engine = f" by {run.engine}" if run.engine else ""
    batch = f", {run.batch_size} in one batch" if run.batch_size and run.batch_size > 1 else ""
    return f"done{took}{engine}{batch}{reason}"
