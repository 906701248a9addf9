"""No upload brings the API down: each is a refusal that says why and leaves nothing behind, or a job."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api import services
from tests import hostile_uploads
from tests.confined_tasks import MISDEEDS, lure
from tests.hostile_uploads import FAMILIES
from tests.integration.conftest import Left, api_process, serving
from tests.recordings import CONTAINERS, recording, tone
from voxqueue.audio.confined import Bounds, Confined, Examiner
from voxqueue.settings import Settings

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux can confine"),
]

NOTE = recording(tone(1), 16_000, "ogg")


@contextmanager
def misled_examiner() -> Iterator[Examiner]:
    """Children that misbehave on the lures of `confined_tasks`, and are given little time for it."""
    with Confined(Bounds(cpu_s=1, wall_s=4), tasks="tests.confined_tasks") as confined:
        yield confined


@pytest.fixture(scope="module")
def api_url(api_settings: Settings) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "open_examiner", misled_examiner)
        with serving(api_settings) as url:
            yield url


def send(api: httpx.Client, data: bytes) -> httpx.Response:
    return api.post("/v1/voice-notes", files={"file": ("note.ogg", data)})


def check(name: object, answer: httpx.Response, before: Left, after: Left) -> None:
    """A job, or a refusal that tells the sender something and leaves nothing."""
    if answer.status_code == 202:
        assert answer.json()["note"]["seconds"] > 0, name
        assert (after[0], after[2], len(after[3])) == (before[0] + 1, before[2] + 1, len(before[3]) + 1), name
        return
    assert answer.status_code in (413, 415, 422), (name, answer.text)
    assert answer.headers["content-type"] == "application/problem+json", name
    detail = answer.json()["detail"]
    assert detail.endswith((".", "allowed.")), (name, detail)
    assert "Error" not in detail, (name, detail)
    assert after == before, name


def test_there_are_enough_of_them() -> None:
    names = [name for name, _ in hostile_uploads.all_of_them()]
    assert len(names) == len(set(names)) >= 60


@pytest.mark.parametrize("family", FAMILIES)
def test_every_hostile_upload_is_a_refusal_or_a_job(
    family: str, api: httpx.Client, left: Callable[[], Left], caplog: pytest.LogCaptureFixture
) -> None:
    """And none of these brings its reader down: that would be a fault of ours or of FFmpeg's, to be mended."""
    before = left()
    for name, data in FAMILIES[family]().items():
        answer = send(api, data)
        check(name, answer, before, before := left())
        assert "ended in its child" not in caplog.text, name
    assert send(api, NOTE).status_code == 202


@pytest.mark.parametrize("misdeed", [*MISDEEDS, "attempts"])
def test_a_reader_that_is_taken_over_or_breaks_costs_its_upload_only(
    misdeed: str, api: httpx.Client, left: Callable[[], Left]
) -> None:
    before = left()
    answer = send(api, lure(misdeed))
    assert answer.status_code == 422, answer.text
    assert answer.json()["type"] == "urn:voxqueue:problem:audio-corrupt"
    check(misdeed, answer, before, left())
    assert send(api, NOTE).status_code == 202


_MAGICS: tuple[bytes, ...] = (
    b"OggS",
    b"fLaC",
    b"RIFF\xff\xff\0\0WAVEfmt ",
    b"ID3\4",
    b"\xff\xfb",
    b"\xff\xf1",
    b"\x1a\x45\xdf\xa3",
    b"caff",
)
_MAGICS += (b"#!AMR\n", b"#!AMR-WB\n", b"FORM\0\0\xff\xffAIFF", b"\0\0\0\x14ftypM4A ", b"\0\0\0\x08moov", b"")
_WHOLE = {container: recording(tone(0.5), 16_000, container) for container in CONTAINERS}


@st.composite
def garbage(draw: st.DrawFn) -> bytes:
    """The beginning of a recording and then noise, or a recording with pieces cut out, repeated or overwritten."""
    if draw(st.booleans()):
        return draw(st.sampled_from(_MAGICS)) + draw(st.binary(max_size=3_000))
    data = bytearray(_WHOLE[draw(st.sampled_from(CONTAINERS))])
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        piece = draw(st.one_of(st.binary(max_size=40), st.just(bytes(data[at : at + draw(st.integers(0, 500))]))))
        data[at : at + draw(st.integers(0, 200))] = piece
    return bytes(data)


@settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=garbage())
def test_garbage_is_a_refusal_or_a_job(api: httpx.Client, left: Callable[[], Left], data: bytes) -> None:
    before = left()
    check(data[:50], send(api, data), before, left())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_children_end_with_the_api(number: signal.Signals, api_settings: Settings, sessions: object) -> None:
    with api_process(api_settings) as (url, process):
        httpx.post(f"{url}/v1/voice-notes", files={"file": NOTE}).raise_for_status()
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2
        process.send_signal(number)
        process.communicate(timeout=20)
    _, living = psutil.wait_procs(family, timeout=20)
    assert not living
