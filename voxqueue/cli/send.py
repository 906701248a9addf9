"""``voxqueue send``: hands a recording or a text to the API."""

from pathlib import Path
from typing import Annotated, Any

import typer

from voxqueue.cli.console import AsJson, Url, connected, remark
from voxqueue.cli.job import AsTranscript, Save, Timeout, Wait, check_output, conclude
from voxqueue.cli.sound_files import check_speaks, format_for


def send(
    note: Annotated[
        Path | None, typer.Argument(metavar="NOTE", help="A recording", exists=True, dir_okay=False, readable=True)
    ] = None,
    text: Annotated[str | None, typer.Option(help="A text instead of a recording")] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="What to make: of a recording, voice_note or transcription; of a text, chat, reply or speech"
        ),
    ] = None,
    language: Annotated[str | None, typer.Option(help="What is spoken, such as en; else it is found out")] = None,
    instructions: Annotated[str | None, typer.Option(help="How to reply")] = None,
    voice: Annotated[str | None, typer.Option(help="The voice of the spoken reply")] = None,
    audio_format: Annotated[
        str | None, typer.Option("--format", help="The format of the spoken reply; else as --save says")
    ] = None,
    task: Annotated[str | None, typer.Option(help="transcribe, or translate into English")] = None,
    prompt: Annotated[str | None, typer.Option(help="What came before in the note, or names to expect")] = None,
    hotwords: Annotated[str | None, typer.Option(help="Words to listen for in the note")] = None,
    words: Annotated[bool, typer.Option("--words", help="Say when each word of the note is spoken")] = False,
    webhook_url: Annotated[str | None, typer.Option(help="Where to tell of this job", metavar="ADDRESS")] = None,
    webhook_event: Annotated[
        list[str] | None,
        typer.Option(help="What to tell there, such as job.started; may be given several times. Else how it ends"),
    ] = None,
    priority: Annotated[str | None, typer.Option(help="When its turn comes: high, normal or low")] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(help="Yours to use; comes back with the job. May be given several times", metavar="KEY=VALUE"),
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Your own name for this: sent again within 24 hours, it makes no second job")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    save: Save = None,
    transcript: AsTranscript = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Send a recording, or a text, and print the job."""
    if (note is None) == (text is None):
        raise typer.BadParameter("give either a recording or --text")
    heard: dict[str, Any] = {
        "task": task,
        "prompt": prompt,
        "hotwords": hotwords,
        "word_timestamps": words or None,
    }
    if text is not None and any(value is not None for value in (*heard.values(), transcript)):
        raise typer.BadParameter("--task, --prompt, --hotwords, --words and --transcript are for recordings")
    check_output(transcript, as_json=as_json)
    check_speaks(save, kind)
    wishes: dict[str, Any] = {
        "kind": kind,
        "language": language,
        "instructions": instructions,
        "voice": voice,
        "audio_format": format_for(save, audio_format),
        "webhook_url": webhook_url,
        "webhook_events": webhook_event,
        "priority": priority,
        "metadata": _pairs(metadata) if metadata else None,
        "idempotency_key": idempotency_key,
    }
    with connected(url) as client:
        job = client.send_text(text, **wishes) if text is not None else client.send_note(note or "", **wishes, **heard)
        conclude(client, job, wait=wait, timeout=timeout, save=save, transcript=transcript, as_json=as_json)
        if not (wait or save or transcript or as_json):
            remark(f"Follow it with: voxqueue job {job.id} --wait{f' --url {url}' if url else ''}")


def _pairs(words: list[str]) -> dict[str, str]:
    """Metadata of words such as ``chat=42``."""
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{word!r} is no KEY=VALUE", param_hint="--metadata")
        pairs[key] = value
    return pairs
