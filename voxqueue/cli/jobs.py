"""``voxqueue jobs``: lists jobs, a line for each."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from voxqueue.cli.console import AsJson, Url, connected, moment, plain, print_json, remark

if TYPE_CHECKING:
    from voxqueue.client import Job

_WORDS = 60  # characters of what was said: enough to know a job by


def jobs(
    state: Annotated[
        str | None, typer.Option(help="Only queued, running, succeeded, failed or canceled ones", metavar="STATE")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only those of this kind, such as transcription")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show at most")] = 20,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List jobs, from the newest on. `voxqueue job ID` shows one."""
    with connected(url) as client:
        found = list(islice(client.jobs(state=state, kind=kind, page_size=min(limit, 100)), limit))
    if as_json:
        print_json([job.model_dump(mode="json") for job in found])
        return
    if not found:
        remark("There are no such jobs." if state or kind else "There are no jobs. Send one with `voxqueue send`.")
    for job in found:
        typer.echo(_row(job))


def _row(job: "Job") -> str:
    made = moment(job.created_at) or ""
    return plain(f"{job.id}  {made:<20}  {job.kind:<13}  {job.state:<9}  {_about(job)}").replace("\n", " ").rstrip()


def _about(job: "Job") -> str:
    """How far a job is, why it failed, or what was said."""
    if job.state == "failed" and job.error is not None:
        return f"at {job.error.stage}: {job.error.title}"
    if not job.is_finished:
        return f"at {job.stage}, {job.progress or 0} %"
    said = (job.transcript.text if job.transcript is not None else job.text) or ""
    return said if len(said) <= _WORDS else f"{said[:_WORDS].rstrip()}…"
