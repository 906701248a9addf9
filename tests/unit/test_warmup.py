"""How a worker gets warm, and what it says meanwhile."""

from collections.abc import Sequence

import pytest

from voxqueue.errors import EngineUnusable, VoxqueueError
from voxqueue.fleet import EngineStatus
from voxqueue.settings import FakeSettings, LlmSettings, Settings
from voxqueue.stages import LlmRequest, LlmResult, Stage
from workers.engines import registry
from workers.engines.base import WholeLlmEngine
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
