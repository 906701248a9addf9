"""How a worker gets warm, and what it says meanwhile."""

from collections.abc import Sequence

import pytest

from voxqueue.errors import EngineUnusable, VoxqueueError
from voxqueue.fleet import EngineStatus, Spread
from voxqueue.fleet.models import StageWarmup
from voxqueue.settings import FakeSettings, LlmSettings, OllamaSettings, Settings
from voxqueue.stages import LlmRequest, LlmResult, Stage
from workers.engines import registry
from workers.engines.base import WholeLlmEngine
from workers.past import Past
from workers.warmup import Warmup

pytestmark = pytest.mark.unit

CALLS: list[int] = []


class RecordingEngine(WholeLlmEngine):
    """Notes down the size of every batch. A deadline of one second keeps it from loading."""

    name = "recording"

    def load(self) -> None:
        if self.settings.llm.deadline_s == 1:
            raise EngineUnusable("model x is missing: get it with `y`.")
        self.model = "m"

    def run(self, batch: Sequence[LlmRequest]) -> Sequence[LlmResult | VoxqueueError]:
        CALLS.append(len(batch))
        return [LlmResult(text=request.text) for request in batch]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    CALLS.clear()
    monkeypatch.setitem(registry.ENGINES[Stage.LLM], "recording", f"{__name__}:RecordingEngine")


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
    done, warmup, _ = warm(engines="nonesuch,recording,echo", deadline_s=1)
    assert done
    report = warmup.snapshot()[Stage.LLM]
    assert report.engine == "echo"
    assert "No llm engine is called 'nonesuch'" in report.degraded[0]
    assert "model x is missing: get it with `y`." in report.degraded[1]
    assert "echo" in report.degraded[2], "and that this one is a stand-in"


def test_a_stage_without_a_usable_engine_has_failed_and_says_what_to_do() -> None:
    done, warmup, _ = warm(engines="recording", deadline_s=1)
    assert not done
    assert warmup.served == {}
    report = warmup.snapshot()[Stage.LLM]
    assert report.status is EngineStatus.FAILED
    assert "model x is missing: get it with `y`." in (report.error or "")


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
