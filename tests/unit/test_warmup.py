"""How a worker gets warm, and what it says meanwhile."""

import gc
import logging
import threading
from collections.abc import Sequence
from typing import ClassVar
from weakref import WeakSet

import pytest

from tests.patience import until
from voxqueue.errors import EngineUnusable, VoxqueueError
from voxqueue.fleet import EngineStatus, Spread
from voxqueue.fleet.models import StageWarmup
from voxqueue.settings import FakeSettings, LlmSettings, OllamaSettings, Settings
from voxqueue.stages import LlmRequest, LlmResult, Stage
from workers import warmup as warmup_module
from workers.engines import registry
from workers.engines.base import WholeLlmEngine
from workers.past import Past
from workers.warmup import Warmup

pytestmark = pytest.mark.unit

CALLS: list[int] = []


class RecordingEngine(WholeLlmEngine):
    """Notes down the size of every batch."""

    name = "recording"

    def load(self) -> None:
        self.model = "m"

    def run(self, batch: Sequence[LlmRequest]) -> Sequence[LlmResult | VoxqueueError]:
        CALLS.append(len(batch))
        return [LlmResult(text=request.text) for request in batch]


class Missing(RecordingEngine):
    """Cannot be loaded."""

    name = "missing"
    why = "model x is missing: get it with `y`."

    def load(self) -> None:
        raise EngineUnusable(self.why)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    CALLS.clear()
    for engine in (RecordingEngine, Missing):
        monkeypatch.setitem(registry.ENGINES[Stage.LLM], engine.name, f"{__name__}:{engine.__name__}")


def warm(**llm: object) -> tuple[bool, Warmup, list[EngineStatus]]:
    """Warm one stage; also returns every status that was reported on the way."""
    seen: list[EngineStatus] = []
    settings = Settings(llm=LlmSettings.model_validate(llm), fake=FakeSettings(fixed_ms=1, per_item_ms=0))
    warmup = Warmup([Stage.LLM], settings, lambda: seen.append(warmup.snapshot()[Stage.LLM].status))
    done = warmup.warm(Stage.LLM)
    for served in warmup.served.values():
        served.batcher.stop(wait_s=5)
    return done, warmup, seen


def test_warm_means_real_inference_at_every_batch_size_of_short_and_long_input() -> None:
    done, warmup, seen = warm(engines="recording", max_batch=16)
    assert done
    assert CALLS == [1, 1, 4, 4, 16, 16]
    assert list(dict.fromkeys(seen)) == [EngineStatus.LOADING, EngineStatus.WARMING, EngineStatus.READY]
    report = warmup.snapshot()[Stage.LLM]
    assert (report.engine, report.model, report.progress, report.error) == ("recording", "m", 100, None)
    assert report.load_time_ms is not None
    assert report.warmup_time_ms is not None


def test_the_first_engine_that_warms_is_used_and_it_is_said_why_the_others_are_not() -> None:
    done, warmup, _ = warm(engines="nonesuch,missing,echo")
    assert done
    report = warmup.snapshot()[Stage.LLM]
    assert report.engine == "echo"
    assert "No llm engine is called 'nonesuch'" in report.degraded[0]
    assert "model x is missing: get it with `y`." in report.degraded[1]
    assert "echo" in report.degraded[2], "and that this one is a stand-in"


def test_a_stage_without_a_usable_engine_has_failed_and_says_what_to_do() -> None:
    done, warmup, _ = warm(engines="missing")
    assert not done
    assert warmup.served == {}
    report = warmup.snapshot()[Stage.LLM]
    assert report.status is EngineStatus.FAILED
    assert report.error == "No engine can be used. missing is not used: model x is missing: get it with `y`."


def test_an_engine_whose_reason_names_it_is_not_named_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What people read first when nothing works must not stutter."""
    monkeypatch.setattr(Missing, "why", "missing is not installed: run x.")
    done, warmup, _ = warm(engines="missing,echo")
    assert done
    assert warmup.snapshot()[Stage.LLM].degraded[0] == "llm: missing is not installed: run x."


class Unwarmable(RecordingEngine):
    """Loads, and fails at its last warm-up."""

    name = "unwarmable"

    def run(self, batch: Sequence[LlmRequest]) -> Sequence[LlmResult | VoxqueueError]:
        if len(batch) > 4:
            return [EngineUnusable("The GPU is too small.") for _ in batch]
        return super().run(batch)


def test_progress_never_goes_back_also_when_a_second_engine_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENGINES[Stage.LLM], "unwarmable", f"{__name__}:Unwarmable")
    seen: list[tuple[int, str | None, str | None]] = []

    def look() -> None:
        report = warmup.snapshot()[Stage.LLM]
        seen.append((report.progress, report.engine, report.model))

    settings = Settings(llm=LlmSettings(engines=("unwarmable", "recording"), max_batch=16))
    warmup = Warmup([Stage.LLM], settings, look)
    assert warmup.warm(Stage.LLM)
    warmup.served[Stage.LLM].stop(wait_s=5)
    progress = [percent for percent, *_ in seen]
    assert progress == sorted(progress)
    assert [percent for percent in progress if percent == 100] == progress[-1:], "100 is for ready alone"
    began_anew = next(one for one in seen if one[1] == "recording")
    assert began_anew[0] > 40, "how far the first one came is kept"
    assert began_anew[2] is None, "the model of the first one is not that of the second"


class Stubborn(Unwarmable):
    """Keeps a whole CPU busy."""

    takes_all_cores = True
    made: ClassVar[WeakSet[RecordingEngine]] = WeakSet()

    def load(self) -> None:
        super().load()
        self.made.add(self)


def test_what_could_not_be_warmed_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again every few seconds for as long as the worker lives."""
    monkeypatch.setitem(registry.ENGINES[Stage.LLM], "stubborn", f"{__name__}:Stubborn")
    monkeypatch.setattr(logging.getLogger("workers.warmup"), "disabled", True)  # pytest would keep the errors
    warmup = Warmup([Stage.LLM], Settings(llm=LlmSettings(engines=("stubborn",), max_batch=16)), lambda: None)
    for _ in range(3):
        assert not warmup.warm(Stage.LLM)
    gc.collect()
    assert not Stubborn.made


class Hanging(RecordingEngine):
    """Loads, and never comes back from its first call."""

    name = "hanging"
    loads = 0
    over = threading.Event()

    def load(self) -> None:
        type(self).loads += 1

    def run(self, batch: Sequence[LlmRequest]) -> Sequence[LlmResult | VoxqueueError]:
        assert self.over.wait(60)
        return super().run(batch)


def test_an_engine_that_hangs_is_not_loaded_once_more_beside_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try would take the memory of another model, until there is none."""
    monkeypatch.setitem(registry.ENGINES[Stage.LLM], "hanging", f"{__name__}:Hanging")
    monkeypatch.setattr(warmup_module, "_END_S", 0.01)
    settings = Settings(llm=LlmSettings(engines=("hanging",), max_batch=1, deadline_s=0.5))
    warmup = Warmup([Stage.LLM], settings, lambda: None)
    for _ in range(3):
        assert not warmup.warm(Stage.LLM)
    assert Hanging.loads == 1
    assert "hanging still hangs" in str(warmup.snapshot()[Stage.LLM].error)
    Hanging.over.set()
    until(lambda: warmup.warm(Stage.LLM))
    warmup.served[Stage.LLM].stop(wait_s=5)


class Panic(BaseException):
    """As the panics of a runtime written in Rust are."""


class Panicking(RecordingEngine):
    name = "panicking"

    def load(self) -> None:
        raise Panic("index out of bounds")


def test_a_panic_while_loading_is_reported_and_the_next_engine_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the thread that warms would be gone, and the worker would load for ever."""
    monkeypatch.setitem(registry.ENGINES[Stage.LLM], "panicking", f"{__name__}:Panicking")
    done, warmup, _ = warm(engines="panicking,echo")
    assert done
    assert "panicking is not used: Panic: index out of bounds" in warmup.snapshot()[Stage.LLM].degraded[0]


class Mended(RecordingEngine):
    """Cannot be loaded the first time."""

    tries = 0

    def load(self) -> None:
        Mended.tries += 1
        if Mended.tries == 1:
            raise EngineUnusable("model x is missing: get it with `y`.")


def test_while_a_failed_engine_is_tried_again_it_is_said_to_be_and_how_it_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else whoever asked for that, or has just mended it, sees nothing but the failure of before."""
    monkeypatch.setattr(Mended, "tries", 0)
    monkeypatch.setitem(registry.ENGINES[Stage.LLM], "mended", f"{__name__}:Mended")
    seen: list[tuple[EngineStatus, int, str | None]] = []

    def look() -> None:
        report = warmup.snapshot()[Stage.LLM]
        seen.append((report.status, report.progress, report.error))

    warmup = Warmup([Stage.LLM], Settings(llm=LlmSettings(engines=("mended",), max_batch=4)), look)
    assert not warmup.warm(Stage.LLM)
    failed = seen.pop()
    seen.clear()
    assert warmup.warm(Stage.LLM)
    warmup.served[Stage.LLM].stop(wait_s=5)
    assert list(dict.fromkeys(status for status, *_ in seen)) == ["failed", "loading", "warming", "ready"]
    progress = [percent for _, percent, _ in seen]
    assert progress == sorted(progress)
    assert progress[0] >= failed[1]
    errors = {error for status, _, error in seen if status is not EngineStatus.READY}
    assert errors == {f"Tried again now. Before: {failed[2]}"}
    assert seen[-1] == (EngineStatus.READY, 100, None)


class TooLarge(RecordingEngine):
    """Says what CTranslate2 says when a GPU is full."""

    name = "too_large"

    def load(self) -> None:
        try:
            raise RuntimeError("CUDA failed with error out of memory")
        except RuntimeError as error:
            raise EngineUnusable(f"too_large cannot load /models/x: {error}") from error


def test_a_model_that_does_not_fit_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cannot load` alone would send people after broken files."""
    monkeypatch.setitem(registry.ENGINES[Stage.LLM], "too_large", f"{__name__}:TooLarge")
    done, warmup, _ = warm(engines="too_large")
    assert not done
    error = str(warmup.snapshot()[Stage.LLM].error)
    assert "too_large does not fit into memory" in error
    assert "VOXQUEUE_LLM_MAX_BATCH" in error


# --- the past ---------------------------------------------------------------------------------------------------------


def start(stage: Stage, engine: str, model: str, load_ms: float, warmup_ms: float, device: str = "cpu") -> StageWarmup:
    return StageWarmup(
        stage=stage, engine=engine, model=model, device=device, load_ms=load_ms, warmup_ms=warmup_ms, host_class="h"
    )


def past(settings: Settings, *starts: StageWarmup) -> Past:
    found = Past(settings)
    found.starts = [one for one in starts for _ in range(3)]
    return found


def test_what_is_expected_is_that_of_the_engine_and_the_model_in_the_settings() -> None:
    settings = Settings(ollama=OllamaSettings(model="large"))
    known = past(
        settings,
        start(Stage.LLM, "ollama", "small", 1000, 0),
        start(Stage.LLM, "ollama", "large", 60_000, 0, "gpu"),
        start(Stage.LLM, "ollama", "large", 99_000, 0, "cpu"),
        start(Stage.LLM, "echo", "template", 1, 0),
        start(Stage.STT, "fake", "fake", 5, 0),
    )

    def load_s(*engines: str) -> float | None:
        expected = known.expected(Stage.LLM, engines)
        return expected.load.p50 if expected else None

    assert load_s("ollama", "echo") == 60, "as it was last"
    assert load_s("echo") == 0.001
    assert load_s("transformers") is None
    assert load_s("fake") is None, "of another stage"
    settings.ollama.model = "larger"
    assert load_s("ollama") is None, "nobody knows how long a new model takes"


def test_stages_that_wait_take_as_long_as_those_before_them_as_well() -> None:
    settings = Settings(engines="fake")
    known = past(
        settings,
        start(Stage.STT, "fake", "fake", 2000, 1000),
        start(Stage.LLM, "fake", "fake", 500, 500),
        start(Stage.TTS, "fake", "fake", 4000, 1000),
    )
    warmup = Warmup(list(Stage), settings, lambda: None, known)
    etas = [warmup.snapshot()[stage].eta_s for stage in Stage]
    assert etas == [Spread(p50=3, p90=3), Spread(p50=4, p90=4), Spread(p50=9, p90=9)]
    known.starts = [one for one in known.starts if one.stage is not Stage.LLM]
    etas = [warmup.snapshot()[stage].eta_s for stage in Stage]
    assert etas == [Spread(p50=3, p90=3), None, None], "what comes after something unknown is unknown"
