"""``voxqueue keys``: makes, lists and revokes API keys. Speaks to the database itself, so that no API need run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxqueue.cli.console import AsJson, moment, plain, print_json, remark
from voxqueue.keys.caller import DEFAULT_TENANT, Scope

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from voxqueue.keys.models import ApiKey
    from voxqueue.keys.repository import KeyState

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True, rich_markup_mode=None)


def _tenant(name: str | None) -> str | None:
    if name is not None and not _TENANT.fullmatch(name):
        raise typer.BadParameter("a tenant is 1 to 63 letters, digits, dots, dashes or underscores")
    return name


def _label(name: str) -> str:
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise typer.BadParameter("a name is 1 to 100 printable characters")
    return name


@app.command()
def create(
    name: Annotated[str, typer.Option(help="What the key is for, such as backend", callback=_label)],
    tenant: Annotated[
        str, typer.Option(help="Whose jobs it sees; keys of one tenant share them", callback=_tenant)
    ] = DEFAULT_TENANT,
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it allows, once for each; else jobs:read and jobs:write")
    ] = None,
    days: Annotated[float | None, typer.Option(min=0.001, max=36_500, help="Days until it expires; else never")] = None,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    from voxqueue.keys import repository
    from voxqueue.keys.keys import Key

    key = Key.new()
    scopes = set(scope or (Scope.JOBS_READ, Scope.JOBS_WRITE))
    with _transaction() as session:
        row = repository.add(session, key, name=name, tenant=tenant, scopes=scopes, days=days)
        session.refresh(row)
        until = "" if row.expires_at is None else f", until {moment(row.expires_at)}"
    remark(f"Key {key.id} ({name}) of the tenant {tenant} allows {', '.join(sorted(scopes))}{until}.")
    remark("Keep it now, it is not shown again. Send it as `Authorization: Bearer ...`, or set VOXQUEUE_API_KEY.")
    typer.echo(str(key))


@app.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only keys of this tenant")] = None, as_json: AsJson = False
) -> None:
    """List the keys, from the newest on, without their secrets."""
    from voxqueue.keys import repository

    with _transaction() as session:
        found = [_shown(key, state) for key, state in repository.every(session, tenant)]
    if as_json:
        print_json(found)
        return
    if not found:
        remark("There are no keys. Make one with `voxqueue keys create --name NAME`.")
    for key in found:
        used = f"used {key['last_used_at']}" if key["last_used_at"] else "never used"
        until = f", until {key['expires_at']}" if key["expires_at"] and key["state"] == "valid" else ""
        words = (f"{key['id']}  {key['state']:<8}", f"{key['tenant']:<12}", f"{key['name']:<16}")
        typer.echo(plain(f"{' '.join(words)} {','.join(key['scopes'])}  {used}{until}"))


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="As `voxqueue keys list` shows it")]) -> None:
    """Make a key count no more. Running APIs notice within five seconds."""
    from voxqueue.keys import repository

    with _transaction() as session:
        was_valid = repository.revoke(session, key_id)
    remark(f"Key {key_id} is revoked." if was_valid else f"Key {key_id} was revoked before.")


@contextmanager
def _transaction() -> Iterator["Session"]:
    """One transaction on the configured database. Raises `DatabaseUnavailable`, which says which one and why."""
    from voxqueue.database.explained import explained
    from voxqueue.database.session import open_engine, open_sessions
    from voxqueue.settings import settings as read_settings

    settings = read_settings().database
    engine = open_engine(settings)
    try:
        with explained(settings.require_url()), open_sessions(engine).begin() as session:
            yield session
    finally:
        engine.dispose()


def _shown(key: "ApiKey", state: "KeyState") -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "scopes": key.scopes,
        "state": state.value,
        "created_at": moment(key.created_at),
        "expires_at": moment(key.expires_at),
        "revoked_at": moment(key.revoked_at),
        "last_used_at": moment(key.last_used_at),
    }
