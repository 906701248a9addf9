"""Taking a recording in: the name it may keep, and the blob that goes again when the rest fails."""

import io
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.recordings import recording, tone
from voxqueue.audio.confined import Unconfined
from voxqueue.errors import BodyTooLarge, NotAudio, StorageUnavailable
from voxqueue.notes.intake import clean_name, kept_only_if_done, receive
from voxqueue.settings import LimitsSettings
from voxqueue.storage import DiskStore

pytestmark = pytest.mark.unit

NOTE = recording(tone(1), 16_000, "wav")


class StuckStore(DiskStore):
    """Takes blobs, and does not give them back."""

    def delete(self, keys: Iterable[str]) -> None:
        raise StorageUnavailable("stuck")


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (None, None),
        ("", None),
        ("note.ogg", "note.ogg"),
        ("Grüße 🎤.m4a", "Grüße 🎤.m4a"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\x.wav", "x.wav"),
        ("folder/", None),
        ("a\0b\r\n\x1b[31m\u202ec.ogg", "ab[31mc.ogg"),
        ("bad\ud800.ogg", "bad.ogg"),
        ("x" * 500, "x" * 200),
    ],
)
def test_a_file_name_is_only_kept_as_far_as_it_can_be_shown(name: str | None, kept: str | None) -> None:
    assert clean_name(name) == kept


def test_a_note_describes_what_was_stored(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    upload = io.BytesIO(NOTE)
    upload.seek(7)  # wherever it stands
    note = receive(upload, file_name="a/b.wav", examiner=Unconfined(), store=store, limits=LimitsSettings())
    assert store.get(note.key) == NOTE
    assert note.key == f"notes/{note.id}.wav"
    assert (note.size, note.container, note.sample_rate, note.channels) == (len(NOTE), "wav", 16_000, 1)
    assert (note.seconds, note.media_type, note.file_name) == (1.0, "audio/wav", "b.wav")


def test_what_is_refused_is_not_stored(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    with pytest.raises(BodyTooLarge, match="31,000 bytes"):
        receive(
            io.BytesIO(NOTE),
            file_name=None,
            examiner=Unconfined(),
            store=store,
            limits=LimitsSettings(upload_bytes=31_000),
        )
    with pytest.raises(NotAudio):
        receive(io.BytesIO(b"text" * 99), file_name=None, examiner=Unconfined(), store=store, limits=LimitsSettings())
    assert list(tmp_path.iterdir()) == []


def test_a_note_whose_rows_fail_loses_its_blob(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    note = receive(io.BytesIO(NOTE), file_name=None, examiner=Unconfined(), store=store, limits=LimitsSettings())
    with kept_only_if_done(store, note):
        pass
    assert [blob.key for blob in store.list()] == [note.key]
    with pytest.raises(KeyError, match="rows"), kept_only_if_done(store, note):
        raise KeyError("rows")
    assert list(store.list()) == []


def test_a_blob_that_stays_behind_is_logged_and_hides_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = StuckStore(tmp_path)
    note = receive(io.BytesIO(NOTE), file_name=None, examiner=Unconfined(), store=store, limits=LimitsSettings())
    with pytest.raises(KeyError, match="rows"), kept_only_if_done(store, note):
        raise KeyError("rows")
    assert note.key in caplog.text
