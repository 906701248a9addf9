"""The ``voxqueue`` command. Each command lives in its own file and imports what it needs when it runs.

An error that we know is one line on standard error; only bugs show a traceback.
"""

from typing import Any

import typer
from typer.core import TyperGroup

from voxqueue.cli import (
    console,
    demo,
    flower,
    job,
    jobs,
    keys,
    models,
    processes,
    ready,
    send,
    settings,
    up,
    voices,
    webhooks,
)
from voxqueue.errors import VoxqueueError


class Commands(TyperGroup):
    """All commands; turns errors that we know into a line and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _in_our_words(error)
            raise
        except VoxqueueError as error:
            console.complain(error.detail)
            raise typer.Exit(console.FAILED) from error


def _in_our_words(error: typer.BadParameter) -> str:
    """What is wrong with an option, where the framework would say it as its validator does."""
    from pydantic import ValidationError

    from voxqueue.plain_words import what_is_expected

    if not isinstance(error.__cause__, ValidationError):
        return error.message
    return "; ".join(what_is_expected(one) for one in error.__cause__.errors())


app = typer.Typer(
    cls=Commands,
    help="Voice notes in; transcripts, replies and speech out. `voxqueue demo` shows it, `voxqueue settings` lists the "
    "VOXQUEUE_ variables that set it up.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command()(up.up)
app.command()(demo.demo)
app.command()(send.send)
app.command()(jobs.jobs)
app.add_typer(job.app, name="job")
app.command()(voices.voices)
app.add_typer(ready.app, name="ready")
app.add_typer(webhooks.app, name="webhooks")
app.command()(processes.api)
app.command()(processes.worker)
app.command()(processes.courier)
app.command()(flower.flower)
app.command()(processes.migrate)
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.command()(settings.settings)


@app.command()
def version() -> None:
    """Print the version."""
    from voxqueue import __version__

    typer.echo(__version__)
