"""Takes a recording in: looks into it, refuses what cannot be used, stores the rest. Knows nothing of HTTP."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from voxqueue.audio.confined import Examiner
from voxqueue.audio.confined.probing import confined_probe
from voxqueue.database.base import new_id
from voxqueue.errors import BodyTooLarge, VoxqueueError
from voxqueue.jobs.blobs import note_key
from voxqueue.jobs.models import Note
from voxqueue.settings import LimitsSettings
from voxqueue.storage import BlobStore

log = logging.getLogger(__name__)

LONGEST_NAME = 200


def receive(
    upload: BinaryIO, *, file_name: str | None, examiner: Examiner, store: BlobStore, limits: LimitsSettings
) -> Note:
    """Store a recording and describe it. The note is in no session yet; wrap what follows in `kept_only_if_done`.

    Args:
        upload: A seekable file, read from its beginning.
        file_name: What the client calls it, unchecked.
        examiner: Reads it for us.

    Raises:
        BodyTooLarge: It has more bytes than allowed.
        AudioError: It is no recording that we can use.
        StorageUnavailable: It cannot be stored right now.
        Unavailable: It cannot be examined right now.
    """
    if upload.seek(0, os.SEEK_END) > limits.upload_bytes:
        raise BodyTooLarge(too_large(limits))
    upload.seek(0)
    found = confined_probe(examiner, upload, max_seconds=limits.note_seconds, min_seconds=limits.note_min_seconds)
    note_id = new_id()
    blob = store.put(note_key(note_id, found.extension), upload, media_type=found.media_type)
    return Note(
        id=note_id,
        key=blob.key,
        media_type=found.media_type,
        container=found.container,
        codec=found.codec,
        sample_rate=found.sample_rate,
        channels=found.channels,
        seconds=found.seconds,
        size=blob.size,
        sha256=blob.sha256,
        file_name=clean_name(file_name),
    )


def too_large(limits: LimitsSettings) -> str:
    """What is told of a recording that has more bytes than allowed."""
    most = limits.upload_bytes
    return (
        f"The recording is larger than the {most / 2**20:.4g} MiB ({most:,} bytes) allowed. Send it compressed, as Ogg "
        "Opus for instance, or in parts."
    )


@contextmanager
def kept_only_if_done(store: BlobStore, note: Note) -> Iterator[None]:
    """Remove the note's blob again if the block fails, so that nothing is stored that no row speaks of."""
    try:
        yield
    except BaseException:
        try:
            store.delete([note.key])
        except VoxqueueError:
            log.exception("%s stays behind in the store, and no row speaks of it", note.key)
        raise


def clean_name(name: str | None) -> str | None:
    """A client's file name as it may be shown: no folders, printable, valid Unicode; None if nothing is left."""
    if name is None:
        return None
    last = re.split(r"[/\\]", name)[-1].encode("utf-8", "ignore").decode()
    return "".join(letter for letter in last if letter.isprintable()).strip()[:LONGEST_NAME] or None
