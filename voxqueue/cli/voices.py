"""``voxqueue voices``: what can be asked for as the voice of a reply."""

from typing import Annotated

import typer

from voxqueue.cli.console import AsJson, Url, connected, plain, print_json, remark


def voices(
    language: Annotated[str | None, typer.Option(help="Only voices that speak it, such as de")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List the voices that the workers have warm."""
    with connected(url) as client:
        found = client.voices(language=language)
    if as_json:
        print_json([voice.model_dump(mode="json") for voice in found])
        return
    if not found:
        remark("No worker has told of such a voice. Is one with text to speech warm? Ask `voxqueue ready check`.")
    for voice in found:
        typer.echo(plain(f"{voice.name:<20} {voice.language or '(several)':<10} {voice.engine} {voice.model}"))
