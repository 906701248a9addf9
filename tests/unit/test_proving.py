"""Whether an engine that is warm still works: shown while nobody asks it for anything, and in nobody's way."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import pytest

from tests.patience import until
from voxqueue.errors import EngineFailed, VoxqueueError
from voxqueue.fleet import EngineStatus, StageReport
from voxqueue.settings import FakeSettings, LlmSettings, Settings
from voxqueue.stages import LlmRequest, LlmResult, Stage
from workers.batching import Batcher
from workers.engines import registry
from workers.engines.base import WholeLlmEngine
from workers.proving import Prover
from workers.serving import Served
from workers.warmup import Warmup

pytestmark = pytest.mark.unit


class Sickly(WholeLlmEngine):
    """Hangs while its gate is closed, fails while it is broken, and remembers what it was asked."""

    name = "sickly"
    takes_all_cores = True
    gate = threading.Event()
    broken = False
    seen: ClassVar[list[list[str]]] = []

    def load(self) -> None:
        self.model = "m"

    def run(self, batch: Sequence[LlmRequest]) -> Sequence[LlmResult | VoxqueueError]:
        self.seen.append([request.text for request in batch])
        assert self.gate.wait(20)
        return [EngineFailed("The fan is off.") if self.broken else LlmResult(text=one.text) for one in batch]


@pytest.fixture
def warmup(monkeypatch: pytest.MonkeyPatch) -> Iterator[Warmup]:
    monkeypatch.setitem(registry.ENGINES[Stage.LLM], "sickly", f"{__name__}:Sickly")
    monkeypatch.setattr(Sickly, "broken", False)
    Sickly.gate.set()
    warmup = Warmup([Stage.LLM], Settings(llm=LlmSettings(engines=("sickly",)), fake=FakeSettings()), lambda: None)
    assert warmup.warm(Stage.LLM)
    Sickly.seen.clear()
    yield warmup
    Sickly.gate.set()
    warmup.served[Stage.LLM].stop(wait_s=10)


def state(warmup: Warmup) -> StageReport:
    return warmup.snapshot()[Stage.LLM]


def turn(prover: Prover, condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        prover()
        time.sleep(0.005)


def test_an_idle_engine_is_asked_for_the_shortest_thing_alone(warmup: Warmup) -> None:
    prover = Prover(warmup, prove_s=0.02)
    turn(prover, lambda: len(Sickly.seen) >= 3)
    served = warmup.served[Stage.LLM]
    assert all(asked == [served.engine.warmup_request(longest=False).text] for asked in Sickly.seen)
    assert state(warmup).status is EngineStatus.READY


def test_an_engine_that_hangs_while_idle_counts_as_failed_until_it_answers(warmup: Warmup) -> None:
    prover = Prover(warmup, prove_s=0.02, patience_s=0.1)
    Sickly.gate.clear()
    turn(prover, lambda: state(warmup).status is EngineStatus.FAILED)
    assert "has not answered a tiny request" in str(state(warmup).error)
    assert len(Sickly.seen) == 1, "asking more often would not help"
    Sickly.gate.set()
    turn(prover, lambda: state(warmup).status is EngineStatus.READY)
    assert state(warmup).error is None


def test_an_engine_that_waits_for_its_turn_has_not_failed(warmup: Warmup) -> None:
    """Another engine has the processor for a long batch: that says nothing of the one that is idle."""
    begun, over = threading.Event(), threading.Event()

    def take_long(batch: Sequence[str]) -> Sequence[str]:
        begun.set()
        assert over.wait(20)
        return batch

    other: Batcher[str, str] = Batcher("other", take_long, max_count=1, deadline_s=20, turns=warmup._turns)
    other.begin("a long batch")
    assert begun.wait(20)
    prover = Prover(warmup, prove_s=0.02, patience_s=0.1)
    much_later = time.monotonic() + 1
    turn(prover, lambda: time.monotonic() > much_later)
    assert state(warmup).status is EngineStatus.READY
    over.set()
    turn(prover, lambda: bool(Sickly.seen))
    other.stop(wait_s=10)


def test_an_engine_that_fails_while_idle_counts_as_failed_until_it_works(warmup: Warmup) -> None:
    prover = Prover(warmup, prove_s=0.02)
    Sickly.broken = True
    turn(prover, lambda: state(warmup).status is EngineStatus.FAILED)
    assert "The fan is off." in str(state(warmup).error)
    Sickly.broken = False
    turn(prover, lambda: state(warmup).status is EngineStatus.READY)


def test_a_job_that_succeeds_is_as_good_as_a_proof(warmup: Warmup) -> None:
    prover = Prover(warmup, prove_s=0.02)
    Sickly.broken = True
    turn(prover, lambda: state(warmup).status is EngineStatus.FAILED)
    Sickly.broken = False
    warmup.served[Stage.LLM].ask(LlmRequest("a job"))
    prover()
    assert state(warmup).status is EngineStatus.READY


def test_an_engine_at_work_is_left_alone(warmup: Warmup) -> None:
    prover = Prover(warmup, prove_s=0.02)
    Sickly.gate.clear()
    served = warmup.served[Stage.LLM]
    job = threading.Thread(target=served.ask, args=(LlmRequest("a job"),))
    job.start()
    until(lambda: Sickly.seen)
    for _ in range(20):
        prover()
        time.sleep(0.005)
    assert served.idle_s == 0
    Sickly.gate.set()
    job.join(10)
    assert Sickly.seen[0] == ["a job"]
    assert state(warmup).status is EngineStatus.READY


def test_a_proof_that_has_not_begun_gives_way_to_a_job(warmup: Warmup) -> None:
    """The engine is held up by one call; a proof is waiting behind it when a job comes."""
    served: Served = warmup.served[Stage.LLM]
    Sickly.gate.clear()
    blocking = served.batcher.begin(LlmRequest("in the way"))
    until(lambda: Sickly.seen)
    proof = threading.Thread(target=served.prove)
    proof.start()
    until(lambda: not served.idle_s)
    job = threading.Thread(target=served.ask, args=(LlmRequest("a job"),))
    job.start()
    until(lambda: served._under_way == 2)
    Sickly.gate.set()
    blocking()
    for thread in (proof, job):
        thread.join(10)
        assert not thread.is_alive()
    assert Sickly.seen == [["in the way"], ["a job"]]
