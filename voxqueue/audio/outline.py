"""Walks over a file's outline (pages, boxes, chunks, elements) to see whether all that it promises is there.

It reads lengths, never sound, so that a minute of it costs a millisecond or two. FFmpeg does not tell a file that was
cut from one that ends; whoever sent it wants to know before half of it is transcribed.
"""

import struct

from voxqueue.audio.formats import (
    AIFF,
    CAF,
    MATROSKA,
    MP3,
    MP4,
    OGG,
    QUICKTIME,
    THREE_GP,
    WAV,
    WEBM,
    Container,
)
from voxqueue.audio.opening import TimedReader, cut
from voxqueue.errors import AudioCorrupt


def check_outline(reader: TimedReader, container: Container) -> bool:
    """See whether the file is whole.

    Returns:
        Whether the duration in its header can be believed. Else somebody has to walk over its packets.

    Raises:
        AudioTruncated: It ends before what it promises.
    """
    if container == OGG:
        return _ogg(reader)
    if container in (WEBM, MATROSKA):
        _matroska(reader)
        return True
    if container in (MP4, THREE_GP, QUICKTIME):
        return _boxes(reader)
    if container == MP3:
        return _mp3(reader)
    if container in (WAV, AIFF, CAF):
        return _chunks(reader, container)
    return False


def _ogg(reader: TimedReader) -> bool:
    """Pages. Each says how long it is; a second beginning after the first pages of sound makes a chain."""
    at, sound_seen, chained = 0, False, False
    while at < reader.size:
        head = reader.read_at(at, 27 + 255)
        if not head.startswith(b"OggS"):
            if b"OggS".startswith(head):
                cut()
            at = _next_page(reader, at)
            continue
        table = head[27 : 27 + head[26]] if len(head) >= 27 else b""
        end = at + 27 + len(table) + sum(table)
        if len(head) < 27 or len(table) < head[26] or end > reader.size:
            at = _next_page(reader, at + 1)  # a page that only seems too long is damaged; the last one is cut
            if at >= reader.size:
                cut()
            continue
        begins = bool(head[5] & 2)
        chained = chained or (begins and sound_seen)
        sound_seen = sound_seen or not begins
        at = end
    return not chained


def _next_page(reader: TimedReader, at: int) -> int:
    """Where the next Ogg page begins, or the file's size."""
    while at < reader.size:
        window = reader.read_at(at, 65_536)
        found = window.find(b"OggS")
        if found >= 0:
            return at + found
        at += max(1, len(window) - 3)
        if len(window) < 65_536:
            break
    return reader.size


_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_MATROSKA_IDS = {
    *(0x1A45DFA3, _SEGMENT, _CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770),
    *(0x1254C367, 0xEC, 0xBF, 0xE7, 0xA3, 0xA0, 0xA7, 0xAB),
}


def _matroska(reader: TimedReader) -> None:
    """Elements. Segments and clusters without a known length, as browsers write them, are walked element by element."""
    at = 0
    while at < reader.size:
        head = reader.read_at(at, 12)
        id_length = 9 - head[0].bit_length()
        if id_length > 4:
            return  # damage: not for us to judge
        identifier = int.from_bytes(head[:id_length])
        if identifier not in _MATROSKA_IDS:
            return
        if len(head) <= id_length:
            cut()
        size_length = 9 - head[id_length].bit_length()
        if size_length > 8:
            return
        body = at + id_length + size_length
        size = int.from_bytes(head[id_length : id_length + size_length]) & ((1 << 7 * size_length) - 1)
        known = size != (1 << 7 * size_length) - 1
        if body > reader.size or (known and body + size > reader.size):
            cut()
        if not known and identifier not in (_SEGMENT, _CLUSTER):
            return
        at = body if identifier == _SEGMENT or not known else body + size


def _boxes(reader: TimedReader) -> bool:
    """Boxes of MP4, QuickTime and 3GP. Without the index (``moov``), which many recorders write last, nothing plays."""
    at, kinds = 0, set()
    while at + 8 <= reader.size:
        head = reader.read_at(at, 16)
        length, kind = struct.unpack(">I4s", head[:8])
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:])
        if length == 0:  # to the end of the file
            length = reader.size - at
        if length < 8 or not kind.isascii():
            break  # junk at the end
        if at + length > reader.size:
            cut()
        kinds.add(kind)
        at += length
    if b"moov" not in kinds:
        cut()
    return b"moof" not in kinds  # in pieces, as phones and Safari record: the header knows the first one only


def _chunks(reader: TimedReader, container: Container) -> bool:
    """Chunks of WAV, AIFF and CAF. A recorder that cannot seek leaves the length of the sound open."""
    order, width, at = {WAV: ("<", "I", 12), AIFF: (">", "I", 12), CAF: (">", "q", 8)}[container]
    header = struct.Struct(f"{order}4s{width}")
    while at + header.size <= reader.size:
        kind, length = header.unpack(reader.read_at(at, header.size))
        body = at + header.size
        if kind in (b"data", b"SSND"):
            if length <= 0 or 0x7FFF0000 <= length <= 0xFFFFFFFF:
                return False
            if (body + length - reader.size) * 100 > length:  # a few samples less are no loss
                cut()
            return True
        if length < 0:
            break
        at = body + length + (0 if container == CAF else length & 1)
    if at > reader.size:
        cut()
    raise AudioCorrupt("The recording is damaged: its header is there, its sound is not. Record it again.")


def _mp3(reader: TimedReader) -> bool:
    """The tag that encoders put into the first frame: how many frames, how many bytes."""
    head = reader.read_at(0, 10)
    start = 0
    if head.startswith(b"ID3") and len(head) == 10:
        length = (head[6] & 127) << 21 | (head[7] & 127) << 14 | (head[8] & 127) << 7 | head[9] & 127
        start = 10 + length + (10 if head[5] & 0x10 else 0)
    frame = reader.read_at(start, 64)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or len(frame) < at + 16:
        if start > reader.size:
            cut()
        return False
    flags, frames, length = struct.unpack(">III", frame[at + 4 : at + 16])
    if flags & 3 != 3 or not frames:
        return False
    largest_frame = 1_441
    if start + length - reader.size > max(largest_frame, length // 100):
        cut()
    return True
