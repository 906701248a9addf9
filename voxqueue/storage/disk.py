"""Blobs as files below one folder. Knows paths and the file system; nothing of S3, notes or jobs."""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from voxqueue.errors import BlobMissing, StorageUnavailable
from voxqueue.storage.base import Blob, BlobsKept, Listed, LocalFile, MeasuringReader, check_key, check_prefix, is_key

_CHUNK = 1 << 20
_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.part")
_FOLDER_TRIES = 10  # a delete must take the freshly made, still empty folder away this often before a put gives up


class DiskStore:
    """One file per blob; the key is its path below the root.

    The root is never created here: a missing one is most likely a share that is not mounted, and blobs written beside
    it would be lost to everybody else. File modes follow the process's umask, since API and workers may be different
    users of one group.

    A put that is killed leaves a file named ``.<32 hex digits>.part``. Nothing lists or reads it, no key can collide
    with it, and `remove_unfinished` gives the space back.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def put(self, key: str, source: BinaryIO, *, media_type: str) -> Blob:
        path = self._path(key)
        reader = MeasuringReader(source)
        with self._writing(key):
            file = self._open_temporary(path.parent)
        try:
            self._copy(key, reader, file)
            with self._writing(key), _synced(path.parent):
                os.replace(file.name, path)
        except BaseException:
            with suppress(OSError):  # closing writes what was buffered, which the full disk may refuse once more
                file.close()
            with suppress(OSError):
                os.unlink(file.name)
            raise
        return Blob(key=key, size=reader.size, sha256=reader.sha256)

    def get(self, key: str) -> bytes:
        path = self._path(key)
        with self._reaching(key, "read"):
            return path.read_bytes()

    def delete(self, keys: Iterable[str]) -> None:
        # Not synced: a file that a power cut brings back is garbage that the next sweep finds, no broken promise.
        kept: dict[str, StorageUnavailable] = {}
        for key in keys:
            path = self._path(key)
            try:
                with suppress(BlobMissing), self._reaching(key, "cleared"):
                    path.unlink()
                    self._remove_empty(path.parent)
            except StorageUnavailable as error:
                kept[key] = error
        if kept:
            raise BlobsKept(next(iter(kept.values())).detail, kept)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        start = self.root / check_prefix(prefix).rpartition("/")[0]
        for folder, folders, names in os.walk(start, onerror=self._refuse_walk):
            folders[:] = [name for name in folders if is_key(name)]  # a mounted disk's `lost+found` is closed to us
            for name in names:
                path = Path(folder, name)
                key = path.relative_to(self.root).as_posix()
                if is_key(key) and key.startswith(prefix) and (listed := self._listed(key, path)):
                    yield listed

    def remove_unfinished(self, before: datetime) -> int:
        removed = 0
        for folder, folders, names in os.walk(self.root, onerror=self._refuse_walk):
            folders[:] = [name for name in folders if is_key(name)]
            for name in filter(_UNFINISHED.fullmatch, names):
                path = Path(folder, name)
                with suppress(BlobMissing), self._reaching(name, "cleared"):  # its put may just have ended
                    if datetime.fromtimestamp(path.stat().st_mtime, UTC) < before:
                        path.unlink()
                        self._remove_empty(path.parent)
                        removed += 1
        return removed

    def locate(self, key: str, *, media_type: str, file_name: str, for_head: bool = False) -> LocalFile:
        path = self._path(key)
        with self._reaching(key, "read"):
            path.open("rb").close()  # also tells a folder from a file, and what we may not read
        return LocalFile(path)

    def check(self) -> None:
        with self._writing("(check)"):
            file = self._open_temporary(self.root)
            try:
                with file:
                    file.write(b"can this folder be written, and has its disk room?")
            finally:
                os.unlink(file.name)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _open_temporary(self, folder: Path) -> BinaryIO:
        """A new file in the blob's own folder, so that the last step is a rename within one file system."""
        for _ in range(_FOLDER_TRIES):
            try:
                self._make(folder)
                return open(folder / f".{uuid4().hex}.part", "xb")
            except FileNotFoundError:
                if not os.path.isdir(self.root):
                    raise
        raise FileNotFoundError(errno.ENOENT, "new folders vanish as soon as they are made", str(folder))

    def _make(self, folder: Path) -> None:
        """Create the folders between the root and this one, not the root itself."""
        for part in reversed((folder, *folder.parents)):
            if part != self.root and part.is_relative_to(self.root) and not part.is_dir():
                with suppress(FileExistsError), _synced(part.parent):
                    part.mkdir()

    def _copy(self, key: str, reader: MeasuringReader, file: BinaryIO) -> None:
        """Fill the file. Only writing is translated: an error of the source is none of the store."""
        while chunk := reader.read(_CHUNK):
            with self._writing(key):
                file.write(chunk)
        with self._writing(key):
            file.flush()
            # The caller answers 202 and commits the job's row, synced, on the strength of this file. Without fsync a
            # power cut in the next half minute leaves the row and an empty file: a promise we cannot keep. It costs
            # some milliseconds against seconds of inference.
            os.fsync(file.fileno())
            file.close()

    def _remove_empty(self, folder: Path) -> None:
        """Remove the folders that a delete left empty, or jobs long gone would use up the inodes."""
        while folder != self.root:
            try:
                folder.rmdir()
            except OSError:  # it holds something again, or somebody else removed it
                return
            folder = folder.parent

    def _listed(self, key: str, path: Path) -> Listed | None:
        """None if the file was deleted since its folder was read."""
        with suppress(BlobMissing), self._reaching(key, "listed"):
            found = path.stat()
            return Listed(key=key, size=found.st_size, modified=datetime.fromtimestamp(found.st_mtime, UTC))
        return None

    def _refuse_walk(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError) or not os.path.isdir(self.root):
            raise self._unavailable("listed", error) from error

    @contextmanager
    def _reaching(self, key: str, verb: str) -> Iterator[None]:
        """Translate what goes wrong with a file that should be there."""
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            if not os.path.isdir(self.root):
                raise self._unavailable(verb, error) from error
            raise BlobMissing(f"Nothing is stored under {key}.") from error
        except OSError as error:
            raise self._unavailable(verb, error) from error

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        """Translate what goes wrong with a file that is to be made."""
        try:
            yield
        except OSError as error:
            if isinstance(error, IsADirectoryError | NotADirectoryError) and os.path.isdir(self.root):
                raise ValueError(f"one key is the folder of another: {key!r}") from error
            raise self._unavailable("written", error) from error

    def _unavailable(self, verb: str, error: OSError) -> StorageUnavailable:
        """The detail names the setting, not the path: it may reach a client, and the operator knows the setting."""
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not os.path.isdir(self.root):
            return StorageUnavailable("The folder in VOXQUEUE_STORAGE_DIR is not there: create it, or mount it.")
        return StorageUnavailable(f"The folder in VOXQUEUE_STORAGE_DIR cannot be {verb}: {error.strerror}.")


@contextmanager
def _synced(folder: Path) -> Iterator[None]:
    """Make the names that the body puts into a folder outlive a power cut. Syncing a file keeps its bytes only.

    The folder is opened first: a delete may take the new blob, and the folder with it, before it is synced.
    """
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield
        os.fsync(number)
    finally:
        os.close(number)
