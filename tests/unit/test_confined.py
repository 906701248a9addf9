"""Whatever an upload does to its reader, we get an answer, stay alive and keep nothing of it."""

import gc
import io
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import psutil
import pytest

from tests.recordings import recording, tone, truncated
from voxqueue.audio import probe
from voxqueue.audio.confined import Bounds, Confined, Unconfined, asking, limits, open_examiner
from voxqueue.audio.confined.probing import confined_probe
from voxqueue.errors import AudioCorrupt, AudioTooLong, AudioTruncated, NotAudio, Unavailable

pytestmark = [pytest.mark.unit, pytest.mark.skipif(sys.platform != "linux", reason="only Linux can confine")]

TASKS = "tests.confined_tasks"
TIGHT = Bounds(memory_bytes=64 << 20, cpu_s=1, wall_s=3)
NOTE = recording(tone(1), 16_000, "ogg")


@pytest.fixture(scope="module")
def confined() -> Iterator[Confined]:
    with Confined(TIGHT, tasks=TASKS) as confined:
        yield confined


def nursery_of(confined: Confined) -> psutil.Process:
    assert confined._nursery
    return psutil.Process(confined._nursery.pid)


def soon(is_so: Callable[[], bool], what: str, seconds: float = 20) -> None:
    give_up = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up, what
        time.sleep(0.01)


def upload_of(kind: str) -> BinaryIO:
    if kind == "memory":
        return io.BytesIO()
    return tempfile.SpooledTemporaryFile(1 << 20 if kind == "spooled" else 1)  # type: ignore[return-value]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


# --- what an answer is ------------------------------------------------------------------------------------------------


def test_a_note_is_described_as_it_would_be_in_this_process(confined: Confined) -> None:
    for container in ("ogg", "webm", "m4a", "mp3", "wav", "flac", "amr", "aac", "mp4"):
        upload = io.BytesIO(recording(tone(2), 16_000, container))
        expected = probe(upload, max_seconds=9, min_seconds=0)
        upload.seek(5)
        assert confined_probe(confined, upload, max_seconds=9, min_seconds=0) == expected
        assert upload.tell() == 0, "the store reads it from here"


def test_errors_keep_their_class_and_their_sentence(confined: Confined) -> None:
    for data, expected, sentence in (
        (b"text" * 50, NotAudio, "not a kind of recording"),
        (truncated(recording(tone(3), 16_000, "flac")), AudioTruncated, "send it again"),
        (recording(tone(3), 16_000, "wav"), AudioTooLong, "longer than the 2 s that are allowed"),
    ):
        with pytest.raises(expected, match=sentence):
            confined_probe(confined, io.BytesIO(data), max_seconds=2, min_seconds=0)


@pytest.mark.parametrize("size", [0, 10, 1 << 20, (1 << 20) + 1, 20 << 20])
@pytest.mark.parametrize("kind", ["memory", "file", "spooled"])
def test_uploads_of_every_kind_and_size_arrive_whole(confined: Confined, size: int, kind: str) -> None:
    text = "x" * (size // 2) + "y" * (size - size // 2)
    with upload_of(kind) as upload:
        upload.write(text.encode())
        heard = confined.ask("count", upload)
        assert heard == [size, text.count("y")]
        assert upload.tell() == 0
        assert upload.read() == text.encode()


def test_many_threads_ask_at_once_and_each_gets_its_own_answer(confined: Confined) -> None:
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda n: confined.ask("echo", io.BytesIO(b"%d" % n), n=n), range(150)))
    assert answers == [[str(n), {"n": n}] for n in range(150)]


# --- what a child is kept from ----------------------------------------------------------------------------------------


def test_a_child_can_open_start_and_raise_nothing(confined: Confined) -> None:
    came_of_it = confined.ask("attempts", io.BytesIO(b""))
    assert [name for name, outcome in came_of_it.items() if outcome == "done"] == []
    assert came_of_it["write into the upload"] == "EBADF"
    for name in ("open a file", "connect by IPv4", "connect by IPv6", "connect to a Unix socket", "make a pipe"):
        assert came_of_it[name] == "EMFILE", name


@pytest.mark.skipif(limits.missing() is not None, reason="this kernel's Landlock is missing or old")
def test_a_child_cannot_change_files_by_path_or_meddle_with_processes(confined: Confined, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    file = tmp_path / "blob"
    file.write_text("precious")
    file.chmod(0o666)
    came_of_it = confined.ask("attempts by path", io.BytesIO(b""), path=str(file))
    came_of_it |= confined.ask("attempts on", io.BytesIO(b""), pid=os.getpid())
    came_of_it |= confined.ask("attempts on", io.BytesIO(b""), pid=nursery_of(confined).pid)
    assert {outcome for outcome in came_of_it.values() if outcome not in ("EACCES", "EPERM")} == set()
    assert [path.name for path in tmp_path.iterdir()] == ["blob"]
    assert file.read_text() == "precious"


def test_a_child_knows_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXQUEUE_S3_SECRET_ACCESS_KEY", "hush")
    with Confined(TIGHT, tasks=TASKS, children=1) as confined:
        assert "hush" not in str(confined.ask("environment", io.BytesIO(b"")))


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_nobody_reads_uploads_where_we_are_root(confined: Confined) -> None:
    confined.ask("echo", io.BytesIO(b""))
    nursery = nursery_of(confined)
    assert set(nursery.uids()) == {limits.NOBODY}


def test_the_nursery_forks_from_one_thread(confined: Confined) -> None:
    """A fork while another thread holds a lock, of malloc for one, makes children that hang."""
    confined.ask("echo", io.BytesIO(b""))
    assert nursery_of(confined).num_threads() == 1


# --- what becomes of a child that breaks ------------------------------------------------------------------------------

LATE = "could not be examined"
BROKEN = "stops its reader"


@pytest.mark.parametrize(
    ("misdeed", "sentence"),
    [
        ("segfault", BROKEN),
        ("abort", BROKEN),
        ("exhaust", BROKEN),
        ("recurse", BROKEN),
        ("raise", BROKEN),
        ("spin", LATE),
        ("sleep", LATE),
        ("go silent", BROKEN),
        ("hang up", BROKEN),
        ("babble", BROKEN),
    ],
)
def test_a_child_that_breaks_costs_its_upload_only(confined: Confined, misdeed: str, sentence: str) -> None:
    with pytest.raises(AudioCorrupt, match=sentence):
        confined.ask("misbehave", io.BytesIO(b""), what=misdeed)
    assert confined.ask("echo", io.BytesIO(b"next")) == ["next", {}]


def test_a_child_that_no_longer_listens_costs_the_next_upload_nothing(confined: Confined) -> None:
    """Whoever took it over may have sent an upload long ago: the next one is read by another child."""
    assert confined.ask("misbehave", io.BytesIO(b""), what="stay") == "well"
    assert confined.ask("echo", io.BytesIO(b"next")) == ["next", {}]


def test_a_child_is_used_a_few_times_and_never_again_after_anything_but_success() -> None:
    with Confined(TIGHT, tasks=TASKS, children=1, uses=3) as confined:
        users = [confined.ask("pid", io.BytesIO(b"x")) for _ in range(7)]
        assert [users.count(pid) for pid in dict.fromkeys(users)] == [3, 3, 1]
        with pytest.raises(NotAudio):
            confined_probe(confined, io.BytesIO(b"no audio"), max_seconds=9, min_seconds=0)
        assert confined.ask("pid", io.BytesIO(b"x")) not in users


def test_a_child_sees_nothing_of_the_upload_before(confined: Confined) -> None:
    for text in ("a long one" * 1_000, "short", ""):
        assert confined.ask("echo", io.BytesIO(text.encode())) == [text, {}]


@pytest.mark.parametrize(
    "lies",
    [
        {"extension": "../../etc/cron.d/x"},
        {"extension": "ogg\n"},
        {"media_type": "text/html"},
        {"media_type": "audio/ogg\r\nSet-Cookie: x"},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"seconds": 10_000},
        {"seconds": "2"},
        {"sample_rate": -1},
        {"channels": True},
        {"container": "x" * 100},
        {"more": 1},
    ],
)
def test_what_a_child_says_is_believed_only_where_it_can_do_no_harm(confined: Confined, lies: dict[str, Any]) -> None:
    """The extension becomes part of a path, and the media type of a header."""

    @dataclass
    class Lying:
        def ask(self, task: str, upload: BinaryIO, **arguments: Any) -> Any:
            return confined.ask("lie", upload, **lies)

    with pytest.raises(AudioCorrupt, match="nothing sensible"):
        confined_probe(Lying(), io.BytesIO(b""), max_seconds=900, min_seconds=0)


def test_what_a_child_says_is_shown_without_control_characters() -> None:
    with pytest.raises(NotAudio) as caught:
        asking._taken("probe", {"refused": ["not-audio", "a\x1b[31m\r\nb" + "c" * 9_000]})
    assert caught.value.detail.startswith("a[31mb")
    assert len(caught.value.detail) == 500
    oddities: list[Any] = [None, [], "x", {}, {"refused": "x"}, {"refused": [1, 2]}, {"ended": -11}]
    for odd in oddities:
        with pytest.raises(AudioCorrupt):
            asking._taken("probe", odd)


# --- who lives how long -----------------------------------------------------------------------------------------------


def test_a_nursery_that_is_killed_is_replaced(confined: Confined) -> None:
    confined.ask("echo", io.BytesIO(b""))
    first = nursery_of(confined)
    orphans = first.children()
    first.kill()
    soon(lambda: not alive([first]), "it is dead")
    assert confined.ask("echo", io.BytesIO(b"still here")) == ["still here", {}]
    assert nursery_of(confined).pid != first.pid
    soon(lambda: not alive(orphans), "the children of the first one are gone")


def test_a_nursery_that_is_killed_while_all_ask_costs_nobody_an_answer(confined: Confined) -> None:
    confined.ask("echo", io.BytesIO(b""))
    first = nursery_of(confined)
    killer = threading.Timer(0.05, first.kill)
    killer.start()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: confined.ask("echo", io.BytesIO(b"%d" % n)), range(60)))
    killer.join()
    assert answers == [[str(n), {}] for n in range(60)]


def test_a_nursery_that_does_not_stir_is_replaced() -> None:
    with Confined(Bounds(wall_s=2), tasks=TASKS, children=1, uses=1) as confined:
        confined.ask("echo", io.BytesIO(b""))
        first = nursery_of(confined)
        soon(lambda: len(first.children()) == 1, "one waits")
        first.suspend()
        for text in ("the one that waited", "the next"):
            assert confined.ask("echo", io.BytesIO(text.encode())) == [text, {}]
        soon(lambda: not alive([first]), "it is gone")


def test_a_child_that_dies_while_it_waits_costs_nobody_an_answer(confined: Confined) -> None:
    confined.ask("echo", io.BytesIO(b""))
    nursery = nursery_of(confined)
    soon(lambda: len(nursery.children()) == 8, "all wait")
    children = nursery.children()
    nursery.suspend()  # nobody says a word of their deaths
    for child in children:
        child.kill()
    soon(lambda: not alive(children), "they are dead")
    nursery.resume()
    assert confined.ask("echo", io.BytesIO(b"still here")) == ["still here", {}]


def test_children_that_cannot_be_made_are_no_fault_of_the_upload() -> None:
    with (
        Confined(Bounds(wall_s=1), tasks="tests.no_such_module", children=1) as confined,
        pytest.raises(Unavailable, match="Send it again in a moment") as caught,
    ):
        confined.ask("echo", io.BytesIO(b""))
    assert caught.value.retry_after


@contextmanager
def without_descriptors() -> Iterator[None]:
    """Inside the block, this process can open nothing more."""
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as opened:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, usual)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, usual[1]))
        with suppress(OSError):
            while True:
                opened.enter_context(open(os.devnull, "rb"))
        yield


def test_who_is_out_of_descriptors_is_asked_to_come_back() -> None:
    """A crowd of open connections is no fault of the upload, nor of ours that a traceback would show."""
    with Confined(tasks="tests.confined_tasks", children=1, uses=1) as confined:
        before = len(os.listdir("/proc/self/fd"))
        with without_descriptors(), pytest.raises(Unavailable):
            confined.ask("echo", io.BytesIO(b"a"))
        assert confined.ask("echo", io.BytesIO(b"b")) == ["b", {}]
        gc.collect()  # the errors on the way know the nursery that has ended, whose channel stays open as long
        assert len(os.listdir("/proc/self/fd")) <= before, "descriptors were left behind"


def test_who_finds_no_free_place_in_time_is_asked_to_come_back() -> None:
    with (
        Confined(Bounds(wall_s=1.5), tasks=TASKS, children=1) as confined,
        ThreadPoolExecutor(4) as pool,
    ):
        confined.ask("echo", io.BytesIO(b""))
        asked = [pool.submit(confined.ask, "misbehave", io.BytesIO(b""), what="sleep") for _ in range(4)]
        errors = [future.exception() for future in asked]
    assert {type(error) for error in errors} == {AudioCorrupt, Unavailable}


HOST = f"""
import io, sys, time
from voxqueue.audio.confined import Confined
with Confined(tasks={TASKS!r}) as confined:
    confined.ask("echo", io.BytesIO(b""))
    print("ready", flush=True)
    confined.ask("misbehave", io.BytesIO(b""), what="sleep")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_everything_dies_with_who_asks(number: signal.Signals) -> None:
    """Also a child that is at work, and without a word to anybody."""
    with subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE) as host:
        assert host.stdout
        assert host.stdout.readline() == b"ready\n"
        soon(lambda: len(psutil.Process(host.pid).children(recursive=True)) >= 5, "the children are there")
        family = psutil.Process(host.pid).children(recursive=True)
        assert len(family) >= 5
        host.send_signal(number)
    soon(lambda: not alive(family), "nothing is left")


def test_nothing_is_left_after_the_end_and_nothing_grows() -> None:
    us = psutil.Process()
    with Confined(TIGHT, tasks=TASKS, children=2) as confined:
        for _ in range(30):
            confined.ask("probe", io.BytesIO(NOTE), max_seconds=9, min_seconds=0)
        nursery = nursery_of(confined)
        ours, theirs, memory = us.num_fds(), nursery.num_fds(), us.memory_info().rss
        for _ in range(200):
            confined.ask("probe", io.BytesIO(NOTE), max_seconds=9, min_seconds=0)
        soon(lambda: nursery.num_fds() < theirs + 10, "the nursery closes what it opens")
        assert us.num_fds() == ours
        assert us.memory_info().rss - memory < 4 << 20
        family = [nursery, *nursery.children()]
    soon(lambda: not alive(family), "nothing is left")


# --- elsewhere --------------------------------------------------------------------------------------------------------


def test_other_systems_read_uploads_unconfined_and_say_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with open_examiner() as examiner:
        assert isinstance(examiner, Unconfined)
        assert confined_probe(examiner, io.BytesIO(NOTE), max_seconds=9, min_seconds=0).container == "ogg"
    assert "unconfined" in caplog.text


def test_a_reader_that_breaks_unconfined_is_an_error_of_ours_too() -> None:
    """Else a recording that is refused elsewhere would be a fault of the API's there."""
    upload = io.BytesIO(NOTE)
    with pytest.raises(AudioCorrupt, match="stops its reader"):
        Unconfined(TASKS).ask("misbehave", upload, what="something that it does not know")
    assert upload.tell() == 0


def test_a_kernel_that_gives_less_is_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for version, said in ((0, "no Landlock"), (5, "Linux 6.12"), (6, "")):
        caplog.clear()
        monkeypatch.setattr(limits, "_landlock_version", lambda version=version: version)
        with open_examiner():
            pass
        assert (said in caplog.text) if said else (caplog.text == "")
