"""`probe`, in a confined child. What the child says is believed only as far as it can do no harm."""

from typing import Annotated, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voxqueue.audio.confined.asking import Examiner
from voxqueue.audio.probe import Probe
from voxqueue.errors import AudioCorrupt

_Word = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")]
_Number = Annotated[int, Field(ge=1, le=1_000_000)]


class _Said(BaseModel):
    """A `Probe` as a child describes it. The extension becomes part of a key, the media type of a header."""

    model_config = ConfigDict(strict=True, extra="forbid")

    container: _Word
    codec: _Word
    sample_rate: _Number
    channels: _Number
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    media_type: Annotated[str, Field(pattern=r"^(audio|video)/[a-z0-9-]{1,32}$")]
    extension: Annotated[str, Field(pattern=r"^[a-z0-9]{1,8}$")]


def confined_probe(examiner: Examiner, upload: BinaryIO, *, max_seconds: float, min_seconds: float) -> Probe:
    """See `probe`, whose errors this raises too, and `Examiner.ask`."""
    found = examiner.ask("probe", upload, max_seconds=max_seconds, min_seconds=min_seconds)
    try:
        said = _Said.model_validate(found)
    except ValidationError as error:
        raise AudioCorrupt("The recording is damaged: nothing sensible can be said of it. Record it again.") from error
    if not min_seconds <= said.seconds <= max_seconds:
        raise AudioCorrupt("The recording is damaged: nothing sensible can be said of it. Record it again.")
    return Probe(**said.model_dump())
