"""What the readiness report makes of the workers' reports."""

import pytest

from voxqueue.fleet import EngineStatus, FleetState, Requirement, StageReport, WorkerReport, assess
from voxqueue.settings import ReadySettings
from voxqueue.stages import Stage

pytestmark = pytest.mark.unit

EVERY = Requirement.of(ReadySettings())
READY = StageReport(status=EngineStatus.READY, progress=100, engine="real", model="m", load_time_ms=5, warmup_time_ms=7)
WARMING = StageReport(status=EngineStatus.WARMING, progress=60, engine="real")
LOADING = StageReport(status=EngineStatus.LOADING, progress=5, engine="real")
FAILED = StageReport(status=EngineStatus.FAILED, error="model x is missing: get it with y")


def worker(name: str = "w", /, **stages: StageReport) -> WorkerReport:
    return WorkerReport(
        worker=name, host="h", pid=1, startup_time_ms=12, stages={Stage(stage): it for stage, it in stages.items()}
    )


def test_no_worker_is_not_ready() -> None:
    report = assess([], EVERY)
    assert (report.ready, report.state, report.progress) == (False, FleetState.INITIALIZING, 0)
    assert report.workers.by_stage[Stage.STT].model_dump() == {"warm": 0, "required": 1}


def test_a_courier_alone_is_no_worker_to_count_on() -> None:
    report = assess([worker()], EVERY)
    assert (report.state, report.workers.total) == (FleetState.INITIALIZING, 0)


@pytest.mark.parametrize(
    ("stages", "state"),
    [
        ({"stt": LOADING, "llm": LOADING, "tts": LOADING}, FleetState.LOADING_MODELS),
        ({"stt": READY, "llm": WARMING, "tts": LOADING}, FleetState.WARMING_UP),
        ({"stt": READY, "llm": READY, "tts": FAILED}, FleetState.ERROR),
        ({"stt": READY, "llm": READY, "tts": READY}, FleetState.READY),
    ],
)
def test_the_state_is_that_of_the_stage_that_is_behind(stages: dict[str, StageReport], state: FleetState) -> None:
    report = assess([worker(**stages)], EVERY)
    assert report.state is state
    assert report.ready is (state is FleetState.READY)
    assert (report.progress == 100) is report.ready, "100 is for ready alone"


def test_one_warm_worker_makes_up_for_one_that_failed_and_the_error_is_still_told() -> None:
    report = assess([worker("a", stt=FAILED), worker("b", stt=READY, llm=READY, tts=READY)], EVERY)
    assert report.ready
    assert report.degraded
    assert report.errors == ["stt: model x is missing: get it with y"]
    assert (report.workers.warm, report.workers.failed) == (1, 1)


def test_specialised_workers_are_ready_together() -> None:
    parts = [worker("a", stt=READY), worker("b", llm=READY)]
    assert not assess(parts, EVERY).ready
    assert assess([*parts, worker("c", tts=READY)], EVERY).ready


def test_a_caller_may_ask_for_less_or_for_more() -> None:
    fleet = [worker("a", stt=READY), worker("b", stt=READY, llm=LOADING)]
    assert assess(fleet, Requirement.of(ReadySettings(), Stage.STT, 2)).ready
    assert not assess(fleet, Requirement.of(ReadySettings(), Stage.STT, 3)).ready
    assert not assess(fleet, Requirement.of(ReadySettings(), Stage.LLM)).ready


def test_a_stage_that_is_not_critical_does_not_hold_up_the_others() -> None:
    report = assess([worker(stt=READY, llm=FAILED)], Requirement.of(ReadySettings(critical=("stt",))))
    assert report.ready
    assert not report.services[Stage.LLM].critical
    assert report.degraded, "but it is said"


def test_what_stands_in_for_the_real_thing_is_said() -> None:
    echo = READY.model_copy(update={"degraded": ["llm: no model, it only repeats"]})
    report = assess([worker(stt=READY, llm=echo, tts=READY)], EVERY)
    assert report.ready
    assert report.degraded
    assert report.degraded_reasons == ["llm: no model, it only repeats"]
