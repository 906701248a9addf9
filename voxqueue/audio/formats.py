"""Which kinds of file we write, which we read, and how a file's first bytes give its kind away.

The first bytes decide, never a name or a declared media type: both come from whoever uploads.
"""

from dataclasses import dataclass
from enum import StrEnum

from voxqueue.errors import NotAudio

SNIFF_BYTES = 64
"""How much of a file's beginning `sniff` wants to see."""


class AudioFormat(StrEnum):
    """A kind of file that speech can be delivered as."""

    OGG = "ogg"
    MP3 = "mp3"
    M4A = "m4a"
    WAV = "wav"
    FLAC = "flac"

    @property
    def media_type(self) -> str:
        return {"mp3": "audio/mpeg", "m4a": "audio/mp4"}.get(self.value, f"audio/{self.value}")

    @property
    def extension(self) -> str:
        """The usual end of a file name, without its dot."""
        return self.value


@dataclass(frozen=True, slots=True)
class Container:
    """A kind of file that we read.

    Attributes:
        name: Our word for it.
        demuxers: The only FFmpeg demuxers that may open it, as FFmpeg names them.
        media_type: What to serve it as when it holds sound only.
        extension: The usual end of its name, without the dot.
        weak: Its first bytes may well be a coincidence, so that a file FFmpeg cannot open is taken for something else.
    """

    name: str
    demuxers: str
    media_type: str
    extension: str
    weak: bool = False


OGG = Container("ogg", "ogg", "audio/ogg", "ogg")
WEBM = Container("webm", "matroska,webm", "audio/webm", "webm")
MATROSKA = Container("matroska", "matroska,webm", "audio/x-matroska", "mka")
MP4 = Container("mp4", "mov,mp4,m4a", "audio/mp4", "m4a")
THREE_GP = Container("3gp", "mov,mp4,m4a", "audio/3gpp", "3gp")
QUICKTIME = Container("mov", "mov,mp4,m4a", "video/quicktime", "mov")
MP3 = Container("mp3", "mp3", "audio/mpeg", "mp3", weak=True)
AAC = Container("aac", "aac", "audio/aac", "aac", weak=True)
WAV = Container("wav", "wav", "audio/wav", "wav")
FLAC = Container("flac", "flac", "audio/flac", "flac")
AMR = Container("amr", "amr", "audio/amr", "amr")
AMR_WB = Container("amr-wb", "amr", "audio/amr-wb", "awb")
AIFF = Container("aiff", "aiff", "audio/aiff", "aiff")
CAF = Container("caf", "caf", "audio/x-caf", "caf")

_FIRST_BYTES: tuple[tuple[bytes, Container], ...] = (
    (b"OggS", OGG),
    (b"fLaC", FLAC),
    (b"#!AMR-WB\n", AMR_WB),
    (b"#!AMR\n", AMR),
    (b"caff", CAF),
)


def sniff(head: bytes) -> Container:
    """The kind of a file, from its first `SNIFF_BYTES` bytes.

    Raises:
        NotAudio: They begin no kind of file that we read.
    """
    for magic, container in _FIRST_BYTES:
        if head.startswith(magic):
            return container
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return WEBM if b"webm" in head else MATROSKA
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return WAV
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return AIFF
    container_of_boxes = _boxes(head)
    if container_of_boxes is not None:
        return container_of_boxes
    if head.startswith(b"ID3") and len(head) >= 10 and head[3] in (2, 3, 4) and max(head[6:10]) < 128:
        return MP3
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return AAC if head[1] & 0xF6 == 0xF0 else MP3
    raise NotAudio(
        "The file is not a kind of recording that we read, whatever its name says. "
        "Send Ogg, WebM, MP4 or M4A, MP3, WAV, FLAC, AMR, AAC, AIFF or CAF."
    )


def _boxes(head: bytes) -> Container | None:
    """The kind of a file made of MP4 boxes, or None if it is none."""
    if head[4:8] == b"ftyp":
        if head[8:11] in (b"3gp", b"3g2"):
            return THREE_GP
        return QUICKTIME if head[8:12] == b"qt  " else MP4
    return QUICKTIME if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip") else None
