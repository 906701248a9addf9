"""Requests on their way through a batcher: fair shares, nothing left behind, and what is said of the model calls."""

import gc
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.patience import until
from voxqueue.errors import EngineRefused, EngineUnusable, VoxqueueError
from voxqueue.settings import Settings, StageSettings
from voxqueue.stages import LlmRequest, LlmResult
from workers.engines.base import Ask, LlmEngine
from workers.serving import Served

pytestmark = pytest.mark.unit


class Letter:
    """A piece. Plain strings could not be watched."""

    def __init__(self, letter: str) -> None:
        self.letter = letter


class Spelling(LlmEngine[Letter, str]):
    """Cuts a text into letters and says them in capitals; `gate` holds its calls up while it is closed."""

    name = "spelling"

    def __init__(self) -> None:
        super().__init__(Settings())
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[str] = []
        self.letters: weakref.WeakSet[Letter] = weakref.WeakSet()
        self.closed: list[str] = []

    def load(self) -> None: ...

    def answer(self, request: LlmRequest, ask: Ask[Letter, str]) -> LlmResult:
        said = []
        for letter in ask(ask.prepared(self._letters(request.text))):
            said.append(letter)
            ask.progress(len(said) / len(request.text))
        return LlmResult("".join(said))

    def _letters(self, text: str) -> Iterator[Letter]:
        try:
            for letter in text:
                piece = Letter(letter)
                self.letters.add(piece)
                yield piece
        finally:
            self.closed.append(text)

    def run(self, batch: Sequence[Letter]) -> Sequence[str | VoxqueueError]:
        self.gate.wait(10)
        self.batches.append("".join(piece.letter for piece in batch))
        return [EngineRefused("No digits, please.") if one.letter.isdigit() else one.letter.upper() for one in batch]

    def cost(self, piece: Letter) -> float:
        return 1.0


@pytest.fixture
def engine() -> Spelling:
    return Spelling()


@pytest.fixture
def served(engine: Spelling) -> Iterator[Served]:
    made = Served(engine, StageSettings(max_batch=4, deadline_s=20))
    yield made
    engine.gate.set()
    made.stop(wait_s=5)


def test_pieces_come_back_in_order_and_share_calls(served: Served, engine: Spelling) -> None:
    shares: list[float] = []
    answered = served.ask(LlmRequest("abcdefghij"), on_progress=shares.append)
    assert answered.result.text == "ABCDEFGHIJ"
    assert answered.batch_size == max(map(len, engine.batches)) > 1
    assert answered.run_ms >= 0
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_short_request_does_not_wait_for_the_whole_of_long_ones(served: Served, engine: Spelling) -> None:
    """Long notes may fill two batches together, whoever's they are; else short ones would come after all of them."""
    engine.gate.clear()
    with ThreadPoolExecutor(8) as threads:
        long = [threads.submit(served.ask, LlmRequest(letter * 100)) for letter in "abcdefg"]
        until(lambda: {piece.letter for piece in list(engine.letters)} == set("abcdefg"))
        short = threads.submit(served.ask, LlmRequest("z"))
        until(lambda: "z" in {piece.letter for piece in list(engine.letters)})
        engine.gate.set()
        assert short.result(20).result.text == "Z"
        assert {one.result(20).result.text for one in long} == {letter * 100 for letter in "ABCDEFG"}
    before = next(place for place, batch in enumerate(engine.batches) if "z" in batch)
    assert before <= 8, "of 176 batches"


def test_a_request_that_fails_leaves_nothing_behind(served: Served, engine: Spelling) -> None:
    """Its pieces and what cuts them, an open recording, must not wait for the garbage collector."""
    gc.disable()
    try:
        refused = None
        try:
            served.ask(LlmRequest("ab1" + "c" * 50))
        except EngineRefused as error:  # not by pytest.raises, which keeps the traceback
            refused = error.detail
        assert refused == "No digits, please."
        assert engine.closed == ["ab1" + "c" * 50]
        assert served.ask(LlmRequest("x")).result.text == "X"
        assert len(engine.letters) <= 1
    finally:
        gc.enable()


def test_an_idle_batcher_holds_on_to_nothing(served: Served, engine: Spelling) -> None:
    served.ask(LlmRequest("abcdef"))
    served.stop(wait_s=5)
    assert len(engine.letters) == 0


def test_requests_that_need_no_model_say_so(served: Served) -> None:
    answered = served.ask(LlmRequest(""))
    assert (answered.result.text, answered.batch_size) == ("", 0)


def test_warming_is_real_inference_or_an_error(served: Served, engine: Spelling) -> None:
    served.infer_together([LlmRequest("a")] * 4)
    assert engine.batches == ["aaaa"]
    with pytest.raises(EngineUnusable, match="No digits"):
        served.infer_together([LlmRequest("a"), LlmRequest("1")])
    with pytest.raises(EngineUnusable, match="nothing of the sample"):
        served.infer_together([LlmRequest("a"), LlmRequest("")])
