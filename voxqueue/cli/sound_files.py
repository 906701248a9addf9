"""Whether the name of a file for speech fits the format of the speech. Knows names only, no file and no API."""

from pathlib import Path

import typer

_ALSO = {"opus": "ogg", "oga": "ogg"}  # our Ogg files hold Opus


def format_for(save: Path | None, chosen: str | None) -> str | None:
    """The format to ask for, given the file that the speech is to be saved in and the format that was chosen.

    A name without an extension says nothing of the format.

    Raises:
        typer.BadParameter: The extension is none of ours, or belongs to another format than the chosen one.
    """
    named = _named(save)
    if save is None or named is None:
        return chosen
    if chosen is not None and chosen != named:
        raise _refused(f"{save.name} would hold {chosen}, since --format says so: leave --format out, or rename it")
    return named


def check_fits(save: Path | None, audio_format: str | None) -> None:
    """Refuse a file whose extension does not belong to the format that a job's speech has.

    Raises:
        typer.BadParameter: So it is, or the extension is none of ours.
    """
    named = _named(save)
    if save is not None and None not in (named, audio_format) and named != audio_format:
        better = save.with_suffix(f".{audio_format}").name
        raise _refused(f"the speech of this job is {audio_format}, which {save.name} does not say: call it {better}")


def check_speaks(save: Path | None, kind: str | None) -> None:
    """Refuse a file for the speech of a job whose kind is known to have none.

    Raises:
        typer.BadParameter: So it is.
    """
    from voxqueue.jobs.kinds import Kind
    from voxqueue.stages import Stage

    if save is not None and kind in list(Kind) and Stage.TTS not in Kind(kind).stages:
        raise _refused(f"a job of the kind {kind} has nothing spoken; leave --save out")


def _named(save: Path | None) -> str | None:
    """The format that a file's name says."""
    from voxqueue.audio import AudioFormat

    if save is None or not save.suffix:
        return None
    extension = save.suffix[1:].lower()
    audio_format = _ALSO.get(extension, extension)
    if audio_format not in list(AudioFormat):
        raise _refused(f"{save.suffix} is no format that we speak in; those are {', '.join(AudioFormat)}")
    return audio_format


def _refused(why: str) -> typer.BadParameter:
    return typer.BadParameter(why, param_hint="--save")
