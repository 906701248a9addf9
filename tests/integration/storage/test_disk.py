"""What the store on disk does beyond the contract."""

import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast
from uuid import uuid4

import pytest

from tests.integration.storage.stores import AUDIO, BIG, NOBODY, Breaking, every_call, keys, put
from voxqueue.errors import StorageUnavailable
from voxqueue.storage import BlobsKept, DiskStore, LocalFile

pytestmark = pytest.mark.integration


def files_below(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*"))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere, so file modes only mean something to somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel refuses to write past this size: a real failure in the middle of a file, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_disk_locates_a_file(disk: DiskStore, root: Path) -> None:
    put(disk, "a/b")
    located = disk.locate("a/b", media_type=AUDIO, file_name="n.ogg")
    assert located == LocalFile(root / "a/b")
    assert located.path.read_bytes() == b"sound"


def test_disk_keeps_no_part_of_a_broken_put(disk: DiskStore, root: Path) -> None:
    with pytest.raises(RuntimeError):
        disk.put("a/b", cast(BinaryIO, Breaking(BIG, RuntimeError("gone"))), media_type=AUDIO)
    assert files_below(root) == ["a"]


def test_disk_obeys_the_umask(disk: DiskStore, root: Path) -> None:
    before = os.umask(0o027)
    try:
        put(disk, "a/b")
    finally:
        os.umask(before)
    assert (root / "a/b").stat().st_mode & 0o777 == 0o640


def test_disk_syncs_the_file_and_its_folders(disk: DiskStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut cannot be had in a test; what has to be synced for it, and in which order, can be watched."""
    synced: list[str] = []
    real = os.fsync

    def watched(number: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{number}"), root))
        real(number)

    monkeypatch.setattr(os, "fsync", watched)
    put(disk, "a/b/c")
    *folders_made, file, folder = synced
    assert folders_made == [".", "a"]  # they hold the names of the new folders
    assert file.startswith("a/b/.")
    assert file.endswith(".part")
    assert folder == "a/b"
    synced.clear()
    put(disk, "a/b/d")
    assert len(synced) == 2


def test_disk_ignores_what_is_not_a_blob(disk: DiskStore, root: Path) -> None:
    put(disk, "a/b")
    (root / "a" / f".{uuid4().hex}.part").write_bytes(b"left by a crash")
    (root / "lost+found").mkdir()
    (root / "lost+found" / "x").write_bytes(b"left by fsck")
    assert keys(disk) == {"a/b"}


def test_disk_removes_what_killed_puts_have_left_once_it_is_old(disk: DiskStore, root: Path) -> None:
    """Else each put that was killed costs its space for ever. What is being written now must stay."""
    put(disk, "a/b")
    put(disk, "c/d")
    now = time.time()
    old, young = root / "a" / f".{uuid4().hex}.part", root / "a" / f".{uuid4().hex}.part"
    alone, foreign = root / "e" / f".{uuid4().hex}.part", root / "a" / ".notes.part"
    alone.parent.mkdir()
    for path, age_s in ((old, 7_200), (alone, 7_200), (foreign, 7_200), (young, 60), (root / "c/d", 7_200)):
        path.write_bytes(b"x")
        os.utime(path, (now - age_s, now - age_s))
    assert disk.remove_unfinished(datetime.fromtimestamp(now - 3_600, UTC)) == 2
    assert files_below(root) == sorted(["a", "b", "c", "d", young.name, ".notes.part"])
    assert disk.remove_unfinished(datetime.fromtimestamp(now - 3_600, UTC)) == 0


def test_disk_removes_the_folders_it_emptied(disk: DiskStore, root: Path) -> None:
    put(disk, "a/b/c")
    put(disk, "a/d")
    disk.delete(["a/b/c"])
    assert files_below(root) == ["a", "d"]
    disk.delete(["a/d"])
    assert files_below(root) == []
    assert root.is_dir()


def test_disk_puts_while_deletes_remove_its_folder(disk: DiskStore) -> None:
    stop = threading.Event()

    def tear_down() -> None:
        while not stop.is_set():
            disk.delete(["a/b/other"])
            put(disk, "a/b/other")

    with ThreadPoolExecutor(3) as pool:
        tearing = [pool.submit(tear_down) for _ in range(2)]
        try:
            for number in range(60):
                put(disk, f"a/b/{number}")
                disk.delete([f"a/b/{number}"])
        finally:
            stop.set()
        for future in tearing:
            future.result()


def test_disk_refuses_a_key_that_is_the_folder_of_another(disk: DiskStore, root: Path) -> None:
    put(disk, "a/b")
    for key in ("a", "a/b/c", "a/b/c/d"):
        with pytest.raises(ValueError, match="folder of another"):
            put(disk, key)
    assert files_below(root) == ["a", "b"]


@pytest.mark.parametrize("broken", ["missing", "file"])
def test_disk_without_its_root_is_unavailable(disk: DiskStore, root: Path, broken: str) -> None:
    root.rmdir()
    if broken == "file":
        root.write_bytes(b"")
    for name, call in every_call(disk).items():
        with pytest.raises(StorageUnavailable, match="VOXQUEUE_STORAGE_DIR is not there") as caught:
            call()
        assert str(root) not in caught.value.detail, name
    assert not root.is_dir()  # a share that is not mounted must not be papered over


def test_disk_that_may_not_be_written_is_unavailable() -> None:
    with tempfile.TemporaryDirectory() as folder:  # not below tmp_path, which only its owner may enter
        root = Path(folder)
        disk = DiskStore(root)
        put(disk, "a/b")
        (root / "lost+found").mkdir(mode=0o700)  # as the root of a mounted disk has it
        for path in (root / "a", root):
            path.chmod(0o555)
        try:
            with as_nobody():
                for name in ("put", "delete", "check"):
                    with pytest.raises(StorageUnavailable, match="Permission denied"):
                        every_call(disk)[name]()
                assert disk.get("a/b") == b"sound"
                assert keys(disk) == {"a/b"}
        finally:
            for path in (root, root / "a"):
                path.chmod(0o755)


def test_disk_that_keeps_one_blob_removes_the_others() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        disk = DiskStore(root)
        for key in ("open/a", "shut/b", "open/c"):
            put(disk, key)
        root.chmod(0o755)
        (root / "open").chmod(0o777)
        with as_nobody(), pytest.raises(BlobsKept, match="Permission denied") as caught:
            disk.delete(["open/a", "shut/b", "open/c"])
        assert caught.value.keys == keys(disk) == {"shut/b"}


def test_disk_that_may_not_be_read_is_unavailable() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        disk = DiskStore(root)
        put(disk, "a/b")
        (root / "a/b").chmod(0)
        (root / "a").chmod(0o111)
        root.chmod(0o555)
        try:
            with as_nobody():
                for name in ("get", "list", "locate"):
                    with pytest.raises(StorageUnavailable, match="Permission denied"):
                        every_call(disk)[name]()
        finally:
            for path in (root, root / "a"):
                path.chmod(0o755)


def test_disk_that_is_full_is_unavailable_and_keeps_nothing(disk: DiskStore, root: Path) -> None:
    with largest_file(300_000), pytest.raises(StorageUnavailable, match="cannot be written: File too large"):
        put(disk, "a/b", b"x" * 1_000_000)
    with largest_file(10), pytest.raises(StorageUnavailable, match="cannot be written"):
        disk.check()
    assert files_below(root) == ["a"]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that answers EIO")
def test_disk_that_breaks_while_reading_is_unavailable(disk: DiskStore, root: Path) -> None:
    (root / "a").mkdir()
    (root / "a/b").symlink_to("/proc/self/mem")  # reading address 0 is an I/O error
    with pytest.raises(StorageUnavailable, match="cannot be read: Input/output error"):
        disk.get("a/b")
