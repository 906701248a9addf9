"""What is kept of earlier starts, and that a worker's start never waits for it."""

import logging
import threading
import time

import pytest

from tests.patience import until
from tests.starts import warmed
from voxqueue.database.session import Sessions, open_engine, open_sessions
from voxqueue.fleet import EngineStatus, StageReport, history
from voxqueue.settings import DatabaseSettings, Settings
from voxqueue.stages import Stage
from workers.past import Memory, Past

pytestmark = pytest.mark.integration

READY = StageReport(
    status=EngineStatus.READY, engine="fake", model="fake", device="cpu", load_time_ms=1000, warmup_time_ms=500
)


def test_the_newest_fifty_of_each_key_are_kept(sessions: Sessions) -> None:
    for number in range(53):
        with sessions.begin() as session:
            history.note(session, warmed(load_ms=number))
    with sessions.begin() as session:
        history.note(session, warmed(device="cuda:0"))
        history.note(session, warmed(host_class="another"))
    with sessions() as session:
        starts = history.of_host(session, "test, 2 x core")
        assert [start.load_ms for start in starts if start.device == "cpu"] == [*reversed(range(3, 53))]
        assert len(starts) == 51, "that of the other device, and not that of the other machine"


def test_what_one_worker_notes_another_one_recalls(sessions: Sessions) -> None:
    settings = Settings(engines="fake")
    for number in range(3):
        Memory(sessions, Past(settings), f"w{number}", "h").note(Stage.TTS, READY)
    past = Past(settings)

    def recalled() -> bool:
        Memory(sessions, past, "w", "h").recall()
        time.sleep(0.05)
        return len(past.starts) == 3

    until(recalled)
    expected = past.expected(Stage.TTS, ["fake"])
    assert expected is not None
    assert (expected.load.p50, expected.warmup.p90) == (1, 0.5)
    assert past.expected_of(Stage.TTS, READY) == expected
    assert past.expected_of(Stage.STT, READY) is None


def test_a_database_that_is_away_costs_the_row_and_never_the_start(caplog: pytest.LogCaptureFixture) -> None:
    engine = open_engine(DatabaseSettings(url="postgresql://127.0.0.1:9/none"))
    past = Past(Settings(engines="fake"))
    memory = Memory(open_sessions(engine), past, "w", "h")
    caplog.set_level(logging.WARNING)
    memory.recall()
    memory.note(Stage.TTS, READY)
    until(lambda: all(thread.name != "past" for thread in threading.enumerate()))
    assert past.starts == ()
    assert "nothing is known of earlier starts" in caplog.text
    assert "how long tts took to be warm is not written down" in caplog.text
    engine.dispose()
