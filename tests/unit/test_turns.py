"""The promises of taking turns: one at a time, the fullest batch first, and nobody is passed over for ever."""

import threading
from collections.abc import Sequence

import pytest

from voxqueue.errors import NotBegun
from workers.batching import Batcher
from workers.turns import Turns

pytestmark = pytest.mark.unit


class Owners:
    """Batchers that take turns; a call ends when the test says so."""

    def __init__(self, *names: str, max_count: int = 4) -> None:
        turns = Turns()
        self.calls: list[tuple[str, int]] = []
        self._begun = threading.Semaphore(0)
        self._end = threading.Semaphore(0)
        self._at_once = 0
        self._lock = threading.Lock()
        self.batchers = {name: self._batcher(name, max_count, turns) for name in names}

    def _batcher(self, name: str, max_count: int, turns: Turns) -> Batcher[int, int]:
        def run(batch: Sequence[int]) -> Sequence[int]:
            with self._lock:
                self._at_once += 1
                assert self._at_once == 1, "two have the turn"
                self.calls.append((name, len(batch)))
            self._begun.release()
            assert self._end.acquire(timeout=10)
            with self._lock:
                self._at_once -= 1
            return batch

        return Batcher(name, run, max_count=max_count, deadline_s=10, turns=turns)

    def ask(self, name: str, number: int = 1) -> None:
        for request in range(number):
            self.batchers[name].begin(request)

    def await_call(self) -> None:
        assert self._begun.acquire(timeout=10)

    def end_call(self) -> None:
        self._end.release()

    def stop(self) -> None:
        self._end.release(100)
        for batcher in self.batchers.values():
            batcher.stop(wait_s=5)


def test_the_fullest_batch_goes_first() -> None:
    owners = Owners("stt", "tts")
    owners.ask("stt")
    owners.await_call()
    owners.ask("tts")
    owners.ask("stt", 3)
    for _ in range(2):
        owners.end_call()
        owners.await_call()
    owners.stop()
    assert owners.calls == [("stt", 1), ("stt", 3), ("tts", 1)]


def test_nobody_is_passed_over_more_than_three_times() -> None:
    owners = Owners("stt", "tts")
    owners.ask("stt")
    owners.await_call()
    owners.ask("tts")
    for _ in range(5):
        owners.ask("stt", 4)  # its next batch is always full
        owners.end_call()
        owners.await_call()
    owners.stop()
    assert owners.calls[:5] == [("stt", 1), ("stt", 4), ("stt", 4), ("stt", 4), ("tts", 1)]


def test_equally_full_ones_alternate() -> None:
    owners = Owners("stt", "tts")
    owners.ask("stt", 1)
    owners.await_call()
    owners.ask("stt", 16)
    owners.ask("tts", 16)
    for _ in range(4):
        owners.end_call()
        owners.await_call()
    owners.stop()
    assert {name for name, _ in owners.calls[1:3]} == {name for name, _ in owners.calls[3:5]} == {"stt", "tts"}


def test_an_idle_one_starts_at_once() -> None:
    owners = Owners("stt", "tts")
    owners.ask("tts")
    owners.await_call()
    owners.stop()
    assert owners.calls == [("tts", 1)]


def test_whoever_stops_while_waiting_lets_the_others_go_on() -> None:
    owners = Owners("stt", "tts")
    owners.ask("stt")
    owners.await_call()
    answer = owners.batchers["tts"].begin(1)
    owners.batchers["tts"].stop(wait_s=5)
    assert isinstance(answer().result, NotBegun)
    owners.ask("stt")
    owners.end_call()
    owners.await_call()
    owners.stop()
    assert owners.calls == [("stt", 1), ("stt", 1)]


def test_a_call_that_fails_gives_its_turn_back() -> None:
    turns = Turns()

    def fail(batch: Sequence[int]) -> Sequence[int]:
        raise RuntimeError("broken")

    broken: Batcher[int, int] = Batcher("broken", fail, max_count=4, deadline_s=10, turns=turns)
    sound: Batcher[int, int] = Batcher("sound", lambda batch: batch, max_count=4, deadline_s=10, turns=turns)
    broken.ask(1)
    assert sound.ask(2).result == 2
    broken.stop(wait_s=5)
    sound.stop(wait_s=5)
