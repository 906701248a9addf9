"""``voxqueue models``: which models the configured engines need, which are missing, and fetching those."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from voxqueue.cli.console import FAILED, AsJson, complain, plain, print_json, remark, warn_of_unknown_variables

if TYPE_CHECKING:
    from voxqueue.models import Model
    from voxqueue.settings import Settings

app = typer.Typer(
    help="List or fetch the models of engines. Alone it lists what the configured engines need. Status: 0 the first "
    "engine of each stage has its models, 1 not.",
    rich_markup_mode=None,
)

_INTERRUPTED = 130  # as shells have it
_USABLE = ("present", "remote")
_SAID_EVERY = 0.1  # of a download, where nobody watches a bar


@dataclass(frozen=True, slots=True)
class Found:
    """Where a model stands. `advice` says how to get it, where it cannot be used.

    A `remote` one belongs to a server that lists what it likes: whether it is there, a worker finds out.
    """

    model: "Model"
    state: Literal["present", "missing", "unreachable", "remote"]
    size: int | None = None  # bytes
    place: str | None = None
    advice: str | None = None

    def as_json(self) -> dict[str, Any]:
        model = self.model
        return {
            "stage": model.stage.value,
            "engine": model.engine,
            "model": model.name,
            "repo": model.repo,
            "setting": model.setting,
            "state": self.state,
            "size": self.size,
            "place": self.place,
            "advice": self.advice,
        }


@app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models of every configured engine, where they lie, and how to get what is missing."""
    _quieten_the_hub()
    if context.invoked_subcommand is not None:
        return
    from voxqueue.models import models_of
    from voxqueue.settings import settings as read_settings

    settings = read_settings()
    warn_of_unknown_variables()
    found = [_find(model, settings) for model in models_of(settings)]
    if as_json:
        print_json([it.as_json() for it in found])
    else:
        _show(found)
    first = {settings.engine_names(it.model.stage)[0] for it in found}
    if any(it.state not in _USABLE and it.model.engine in first for it in found):
        raise typer.Exit(FAILED)


@app.command()
def pull(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models or engines, as the list names them; else all that is missing")
    ] = None,
) -> None:
    """Fetch what is missing. Models of Ollama are pulled by its server."""
    from voxqueue.errors import EngineUnusable
    from voxqueue.settings import settings as read_settings

    settings = read_settings()
    signal.signal(signal.SIGINT, _leave)
    failed: dict[str, dict[str, None]] = {}  # what went wrong, and the engines that lack something by that
    for model in _chosen(names or [], settings):
        try:
            found = _find(model, settings)
            if found.state in _USABLE:
                remark(f"{model.name} is {'already here' if found.state == 'present' else 'served'}: {found.place}")
                continue
            with _progress(model.name) as tell:
                _fetch(model, settings, tell)
            found = _find(model, settings)
            typer.echo(plain(f"{model.name}: {_in_words(found.size)} at {found.place}"))
        except EngineUnusable as error:
            failed.setdefault(error.detail, {})[model.engine] = None
    for why, engines in failed.items():
        complain(f"{', '.join(engines)}: {why}")
    if failed:
        raise typer.Exit(FAILED)


def _leave(*_: object) -> None:
    """End at once: the threads of a download would first go on to the end of their files."""
    if os.isatty(2):
        os.write(2, b"\x1b[?25h\n")  # the bar has hidden the cursor
    os._exit(_INTERRUPTED)


def _quieten_the_hub() -> None:
    """Its advice to programmers would stand between our lines."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")


def _find(model: "Model", settings: "Settings") -> Found:
    from voxqueue import ollama
    from voxqueue.errors import EngineUnusable
    from voxqueue.models import locate, size_of
    from voxqueue.urls import without_login

    if model.engine == "openai":
        return Found(model, "remote", place=without_login(settings.openai.address))
    if model.served:
        url = settings.ollama.url
        try:
            size = ollama.size_on_server(url, model.name)
        except EngineUnusable as error:
            return Found(model, "unreachable", advice=error.detail)
        if size is None:
            advice = f"{model.name} is not pulled: `voxqueue models pull`, or `ollama pull {model.name}`."
            return Found(model, "missing", advice=advice)
        return Found(model, "present", size, without_login(url))
    try:
        folder = locate(model, settings.models)
    except EngineUnusable as error:
        return Found(model, "missing", advice=error.detail)
    return Found(model, "present", size_of(model, folder), str(folder))


def _fetch(model: "Model", settings: "Settings", tell: Callable[[float], None]) -> None:
    from voxqueue import ollama
    from voxqueue.models import fetch

    if model.served:
        ollama.pull(settings.ollama.url, model.name, tell)
    else:
        fetch(model, settings.models, tell)


def _chosen(names: list[str], settings: "Settings") -> "list[Model]":
    """The configured models that go by these names; all of them if there are no names."""
    from voxqueue.errors import NotFound
    from voxqueue.models import models_of

    configured = models_of(settings)
    for name in names:
        if not any(name in _names(model) for model in configured):
            known = ", ".join(model.name for model in configured) or "none"
            raise NotFound(f"No configured engine needs a model called {name}. Those that are needed: {known}.")
    return [model for model in configured if not names or _names(model).intersection(names)]


def _names(model: "Model") -> set[str | None]:
    return {model.name, model.engine, model.repo}


@contextmanager
def _progress(name: str) -> Iterator[Callable[[float], None]]:
    """Show how far a download is: a bar for people, a line now and then for logs."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(name)
        return
    words = TextColumn("{task.description}", markup=False)
    share = TextColumn("{task.percentage:>3.0f} %", markup=False)
    with Progress(words, BarColumn(bar_width=24), share, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(plain(name), total=1.0)
        yield lambda done: bar.update(task, completed=done)


def _lines(name: str) -> Callable[[float], None]:
    said, due = 0.0, 0.0

    def tell(done: float) -> None:
        nonlocal said, due
        if done > said and (done >= due or done >= 1):
            said, due = done, done + _SAID_EVERY
            remark(f"  {name}: {done:.0%}")

    return tell


def _show(found: list[Found]) -> None:
    if not found:
        typer.echo("The configured engines need no models.")
    wide = max((len(it.model.engine) for it in found), default=0)
    for it in found:
        size = "" if it.state == "remote" else f"  {_in_words(it.size)}"
        where = "" if it.place is None else f"{size}  {it.place}"
        line = f"{it.model.stage:<4} {it.model.engine:<{wide}}  {it.state:<11} {it.model.name}{where}"
        typer.echo(plain(line))
        if it.advice is not None:
            typer.echo(plain(f"     {it.advice}"))


def _in_words(size: int | None) -> str:
    """Bytes as people read them."""
    if size is None:
        return "unknown size"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
