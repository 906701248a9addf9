"""What every registered engine must do, whoever wrote it; then the base class; then the engines of this house.

Those that need a model or a server find a tiny one here, see `tests.models.prepare`.
"""

import re
import textwrap
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.engines import results
from tests.models.prepare import PREPARE
from tests.models.sentences import ENGLISH, speak
from tests.recordings import silence, tone
from voxqueue.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineOutOfMemory,
    EngineRefused,
    MisconfiguredError,
    NotBegun,
    VoxqueueError,
)
from voxqueue.settings import FakeSettings, Settings, StageSettings
from voxqueue.stages import (
    SAMPLE_RATE,
    LlmRequest,
    LlmResult,
    Request,
    Stage,
    SttRequest,
    SttResult,
    TtsRequest,
    TtsResult,
)
from workers.engines.base import AnyEngine, Called, WholeLlmEngine
from workers.engines.registry import ENGINES, create_engine
from workers.serving import Served

pytestmark = pytest.mark.unit

NEED_NO_DOWNLOAD = {"pocketsphinx", "echo", "espeak", "fake"}
SETTINGS = Settings(fake=FakeSettings(load_ms=0, fixed_ms=0, per_item_ms=0))


def noise(seconds: float, rms: float = 0.01) -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, rms, round(seconds * SAMPLE_RATE)).astype(np.float32)


def distinct_requests(stage: Stage) -> list[Request]:
    """Three different requests; of texts, the longest is in the middle."""
    if stage is Stage.STT:
        return [SttRequest(audio=[spoken], language="en") for spoken in map(speak, ENGLISH[:3])]
    texts = ("One.", "This one is the longest of the three, by a good deal.", "This is the third.")
    make = LlmRequest if stage is Stage.LLM else TtsRequest
    return [make(text=text, language="en") for text in texts]


HOSTILE_SAMPLES = {
    "nothing at all": np.zeros(0, np.float32),
    "one sample": np.ones(1, np.float32),
    "a tenth of a second": tone(0.1),
    "digital silence": silence(3),
    "noise": noise(2, 0.1),
    "clipping": np.sign(tone(2)).astype(np.float32),
}
HOSTILE_TEXTS = {
    "empty": "",
    "blank": " \n\t ",
    "punctuation": "...?!",
    "emoji": "🙂🎉👨‍👩‍👧",
    "NUL": "before\0after",
    "control": "\x01\x1b[31m\x7f",
    "right to left": "שלום עולם, مرحبا بالعالم",
    "combining": "e" + "\u0301" * 200,
    "half a surrogate pair": "broken \ud83d here",
    "no character that an English model knows": "漢字かな交じり文",
    "long": "The quick brown fox jumps over it. " * 285,
    "one long word": "a" * 10_000,
    "markup": "<speak>&amp;</speak> [[h@loU]] {{x}} %s",
}


def hostile_requests(stage: Stage) -> dict[str, Request]:
    if stage is Stage.STT:
        return {case: SttRequest(audio=[samples]) for case, samples in HOSTILE_SAMPLES.items()}
    make = LlmRequest if stage is Stage.LLM else TtsRequest
    return {case: make(text=text) for case, text in HOSTILE_TEXTS.items()}


DOCUMENTED = (Stage.LLM, "shout")
"""The example that newcomers start from."""


def register_documented(patch: pytest.MonkeyPatch, folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "add-an-engine.md").read_text()
    blocks = re.findall(r"^ *```python\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)
    (folder / "documented.py").write_text(textwrap.dedent(blocks[0]))
    patch.syspath_prepend(folder)
    patch.setitem(ENGINES[Stage.LLM], "shout", "documented:ShoutEngine")


@pytest.fixture(
    params=[*((stage, name) for stage, names in ENGINES.items() for name in names), DOCUMENTED],
    ids="-".join,
    scope="module",
)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnyEngine]:
    stage, name = request.param
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("HF_HUB_OFFLINE", "1")  # a test downloads nothing
        prepare = PREPARE.get(name)
        folder = tmp_path_factory.mktemp(name)
        if request.param == DOCUMENTED:
            register_documented(patch, folder)
        settings = stack.enter_context(prepare(folder)) if prepare else SETTINGS
        made = create_engine(stage, name, settings)
        made.load()
        stack.callback(made.close)
        yield made


def check_answer(request: Request, answer: object) -> None:
    """An answer has the shape that its stage promises, or is an error that a person can act on."""
    if isinstance(answer, VoxqueueError):
        assert len(answer.detail) > 15
        return
    match request:
        case SttRequest():
            assert isinstance(answer, SttResult)
            assert answer.audio_seconds == pytest.approx(request.seconds)
            assert bool(answer.text) == bool(answer.segments)
            last = 0.0
            for segment in answer.segments:
                assert last <= segment.start < segment.end <= request.seconds + 0.01
                assert segment.text.strip()
                last = segment.start
        case LlmRequest():
            assert isinstance(answer, LlmResult)
            assert answer.text.strip()
        case TtsRequest():
            assert isinstance(answer, TtsResult)
            assert answer.samples.dtype == np.float32
            assert answer.samples.ndim == 1
            assert np.isfinite(answer.samples).all()
            assert 0 < np.abs(answer.samples).max() <= 1
            assert 8_000 <= answer.sample_rate <= 48_000


def gist(answer: object) -> object:
    """What must be the same whether a request ran alone or in a batch. Speech is not bit-reproducible everywhere."""
    if isinstance(answer, TtsResult):
        return pytest.approx(answer.seconds, rel=0.02)
    assert isinstance(answer, (SttResult, LlmResult))
    return answer.text


# --- every engine -----------------------------------------------------------------------------------------------------


def test_says_what_it_is(engine: AnyEngine) -> None:
    assert ENGINES[engine.stage].keys() >= {engine.name}
    assert engine.model
    assert engine.device
    assert engine.max_batch is None or engine.max_batch >= 1
    assert (engine.name in NEED_NO_DOWNLOAD) <= (engine.stand_in is not None)


def test_warms_at_both_lengths(engine: AnyEngine) -> None:
    for request in (engine.warmup_request(longest=False), engine.warmup_request(longest=True)):
        (answer,) = results(engine, [request])
        assert not isinstance(answer, VoxqueueError)
        check_answer(request, answer)


def test_batch_gives_what_single_calls_give_in_order(engine: AnyEngine) -> None:
    requests = distinct_requests(engine.stage)
    batch = results(engine, requests)
    assert len(batch) == len(requests)
    for request, answer in zip(requests, batch, strict=True):
        check_answer(request, answer)
        (single,) = results(engine, [request])
        assert gist(answer) == gist(single)
    if engine.stage is Stage.TTS:
        short, longest, middle = (answer.seconds for answer in batch if isinstance(answer, TtsResult))
        assert short < middle < longest
    elif engine.stage is Stage.LLM:
        assert len({answer.text for answer in batch if isinstance(answer, LlmResult)}) == len(batch)


def test_empty_batch(engine: AnyEngine) -> None:
    assert engine.call([]) == []


def test_hostile_input_hurts_nobody_else(engine: AnyEngine) -> None:
    good = distinct_requests(engine.stage)[0]
    for case, bad in hostile_requests(engine.stage).items():
        answers = results(engine, [good, bad, good])
        assert len(answers) == 3, case
        check_answer(bad, answers[1])
        for answer in (answers[0], answers[2]):
            assert not isinstance(answer, VoxqueueError), case
            check_answer(good, answer)


def test_silence_has_no_words(engine: AnyEngine) -> None:
    if engine.stage is Stage.STT:
        (answer,) = results(engine, [SttRequest(audio=[silence(5)], language="en")])
        assert isinstance(answer, SttResult)
        assert (answer.text, answer.segments) == ("", ())


def test_a_deadline_is_kept_and_the_engine_goes_on(engine: AnyEngine) -> None:
    """Whoever is too late gets an answer that says so at once; what comes after is not held up by it."""
    request = distinct_requests(engine.stage)[0]
    hasty = Served(engine, StageSettings(deadline_s=1e-6))
    with pytest.raises((DeadlineExceeded, NotBegun)):
        hasty.ask(request)
    hasty.stop(wait_s=60)
    (answer,) = results(engine, [request])
    check_answer(request, answer)
    assert not isinstance(answer, VoxqueueError)


def test_can_be_closed_and_loaded_again(engine: AnyEngine) -> None:
    request = distinct_requests(engine.stage)[0]
    (before,) = results(engine, [request])
    engine.close()
    engine.close()
    engine.load()
    (after,) = results(engine, [request])
    check_answer(request, after)
    assert gist(before) == gist(after)


def test_unknown_engine_names_the_known_ones() -> None:
    with pytest.raises(MisconfiguredError, match="echo, fake"):
        create_engine(Stage.LLM, "oracle", SETTINGS)


# --- the base ---------------------------------------------------------------------------------------------------------


class Scripted(WholeLlmEngine):
    """Does what its texts say, and writes down how large the batches were."""

    name = "scripted"

    def __init__(self, holds: int = 100) -> None:
        super().__init__(SETTINGS)
        self.holds = holds
        self.calls: list[int] = []

    def load(self) -> None: ...

    def run(self, batch: Sequence[LlmRequest]) -> Sequence[LlmResult | VoxqueueError]:
        self.calls.append(len(batch))
        texts = [request.text for request in batch]
        if len(batch) > self.holds:
            raise RuntimeError("CUDA failed with error out of memory")
        if "memory" in texts:
            raise MemoryError
        if "raise" in texts:
            raise ValueError("no such token")
        if "refuse all" in texts:
            raise EngineRefused("This one cannot be done at all.")
        if "lose one" in texts:
            return [LlmResult(text) for text in texts[:-1]]
        return [EngineRefused("Not this one, it is bad.") if text == "bad" else LlmResult(text) for text in texts]


def ask(engine: Scripted, *texts: str) -> list[Any]:
    answers = engine.call([LlmRequest(text) for text in texts])
    return [answer.output.text if isinstance(answer, Called) else type(answer) for answer in answers]


def test_an_error_as_a_value_costs_no_second_call() -> None:
    engine = Scripted()
    assert ask(engine, "a", "bad", "c") == ["a", EngineRefused, "c"]
    assert engine.calls == [3]


@pytest.mark.parametrize(
    ("text", "error"),
    [("raise", EngineFailed), ("memory", EngineOutOfMemory), ("refuse all", EngineRefused), ("lose one", EngineFailed)],
)
def test_a_request_that_breaks_the_call_fails_alone(text: str, error: type[VoxqueueError]) -> None:
    engine = Scripted()
    assert ask(engine, "a", "b", text, "d", "e") == ["a", "b", error, "d", "e"]
    assert engine.calls == [5, 2, 3, 1, 2]


def test_a_batch_too_large_for_the_memory_is_halved() -> None:
    engine = Scripted(holds=2)
    assert ask(engine, *"abcdefg") == list("abcdefg")
    assert engine.calls == [7, 3, 1, 2, 4, 2, 2]


def test_what_ran_out_of_memory_is_let_go_before_the_next_try() -> None:
    """An error keeps its frames, and those keep the tensors that had no room: no half would fit either."""

    class Tensor:
        pass

    class Hoarding(Scripted):
        def __init__(self) -> None:
            super().__init__(holds=1)
            self.tensors: weakref.WeakSet[Tensor] = weakref.WeakSet()
            self.alive: list[int] = []

        def run(self, batch: Sequence[LlmRequest]) -> Sequence[LlmResult | VoxqueueError]:
            tensor = Tensor()
            self.tensors.add(tensor)
            return super().run(batch)

        def free_memory(self) -> None:
            self.alive.append(len(self.tensors))

    engine = Hoarding()
    assert ask(engine, *"abcd") == list("abcd")
    assert engine.alive == [0, 0, 0]
    assert engine.ceiling == 1


def test_a_request_that_fits_nowhere_runs_out_of_memory_once() -> None:
    engine = Scripted(holds=0)
    assert ask(engine, "a") == [EngineOutOfMemory]
    assert engine.calls == [1]


def test_the_cause_is_in_the_detail() -> None:
    (answer,) = Scripted().call([LlmRequest("raise")])
    assert isinstance(answer, EngineFailed)
    assert "ValueError: no such token" in answer.detail
