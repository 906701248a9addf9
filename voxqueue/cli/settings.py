"""``voxqueue settings``: every setting with its default and what it does; the reference in docs is made of it."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxqueue.cli.console import warn_of_unknown_variables
from voxqueue.urls import without_password

if TYPE_CHECKING:
    from pydantic import BaseModel

    from voxqueue.settings import Settings


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable: its default, its value now, and what it does."""

    variable: str
    default: str
    value: str
    description: str


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that belong together, and what they are about."""

    name: str
    about: str
    settings: tuple[Setting, ...]


def settings(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Write the reference that docs/settings.md holds")
    ] = False,
) -> None:
    """Print every setting: its value now, and what it does. Secrets are masked."""
    if markdown:
        typer.echo(reference(), nl=False)
        return
    from voxqueue.settings import settings as read

    warn_of_unknown_variables()
    for group in groups(read()):
        typer.echo(f"# {group.name}: {group.about}")
        for setting in group.settings:
            changed = "" if setting.value == setting.default else f"   [default: {setting.default or 'none'}]"
            typer.echo(f"{setting.variable}={setting.value}{changed}\n    {setting.description}")
        typer.echo()


def reference() -> str:
    """The settings as a page of Markdown. Depends on the code only, not on the environment."""
    from voxqueue.settings import Settings

    lines = [
        "# Settings",
        "",
        "Written by `voxqueue settings --markdown > docs/settings.md`; edit `voxqueue/settings/` instead.",
        "Lists are comma-separated. `voxqueue settings` prints the values in force. A value that makes no sense, or an",
        "engine that does not exist, ends a process at once; of a `VOXQUEUE_` variable that is no setting it warns.",
    ]
    for group in groups(Settings.model_construct()):  # the defaults, whatever the environment says
        lines += [
            "",
            f"## {group.name}",
            "",
            group.about,
            "",
            "| Variable | Default | Meaning |",
            "| --- | --- | --- |",
        ]
        for setting in group.settings:
            default = f"`{setting.default}`" if setting.default else ""
            lines.append(f"| `{setting.variable}` | {default} | {setting.description} |")
    return "\n".join(lines) + "\n"


def groups(now: "Settings") -> Iterator[Group]:
    """Every setting there is, in the order of the file."""
    from voxqueue.client import DEFAULT_URL
    from voxqueue.settings import Settings
    from voxqueue.settings.variables import setting_groups

    names = Settings.model_fields
    single = tuple(_setting("VOXQUEUE", Settings, name, now) for name in names if name not in setting_groups())
    yield Group("General", "For every process.", single)
    for name, group in setting_groups().items():
        values = getattr(now, name)
        about = (group.__doc__ or "").partition("\n\n")[0].strip()
        settings = tuple(_setting(f"VOXQUEUE_{name.upper()}", group, inner, values) for inner in group.model_fields)
        yield Group(name, about, settings)
    where = Setting("VOXQUEUE_URL", DEFAULT_URL, os.environ.get("VOXQUEUE_URL") or DEFAULT_URL, "Where the API is")
    key = "**********" if os.environ.get("VOXQUEUE_API_KEY") else ""
    who = Setting("VOXQUEUE_API_KEY", "", key, "A key, where the API asks for one")
    secret = "**********" if os.environ.get("VOXQUEUE_WEBHOOK_SECRET") else ""
    signs = Setting("VOXQUEUE_WEBHOOK_SECRET", "", secret, "What `voxqueue webhooks listen` verifies deliveries with")
    yield Group("client", "The Python client, and the commands that use it.", (where, who, signs))


def _setting(prefix: str, model: "type[BaseModel]", name: str, values: "BaseModel") -> Setting:
    field = model.model_fields[name]
    description = (field.description or "").replace("|", "\\|")
    return Setting(f"{prefix}_{name.upper()}", _shown(field.get_default()), _shown(getattr(values, name)), description)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value)
    return without_password(str(value))  # a SecretStr masks itself, an address does not
