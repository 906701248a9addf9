"""What the readiness report makes of the workers' reports."""

import pytest
from pydantic import ValidationError

from voxqueue.fleet import (
    EngineStatus,
    FleetBrief,
    FleetState,
    QueueReport,
    Requirement,
    Spread,
    StageReport,
    WorkerReport,
    assess,
)
from voxqueue.fleet.reports import StageCount
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


# --- quorums ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quorum", "needed"),
    [
        ("1", {"stt": 1, "llm": 1, "tts": 1}),
        ("3", {"stt": 3, "llm": 3, "tts": 3}),
        ("stt=2,llm=1,tts=1", {"stt": 2, "llm": 1, "tts": 1}),
        (" stt = 2 ", {"stt": 2, "llm": 1, "tts": 1}),
        ("llm=0", {"stt": 1, "tts": 1}),
    ],
)
def test_each_stage_may_need_another_number_of_workers(quorum: str, needed: dict[str, int]) -> None:
    requirement = Requirement.of(ReadySettings(quorum=quorum))
    assert requirement.required == {Stage(stage): number for stage, number in needed.items()}


@pytest.mark.parametrize("quorum", ["", "0", "-1", "x", "asr=1", "stt=", "stt=x", "stt=1;llm=1", "1,2"])
def test_a_quorum_that_makes_no_sense_is_refused(quorum: str) -> None:
    with pytest.raises(ValidationError, match="write stt=2,llm=1,tts=1"):
        ReadySettings(quorum=quorum)


def test_a_stage_is_as_far_as_the_workers_that_it_needs() -> None:
    two = Requirement.of(ReadySettings(quorum="stt=2"), Stage.STT)
    report = assess([worker("a", stt=READY), worker("b", stt=WARMING)], two)
    assert (report.ready, report.state, report.progress) == (False, FleetState.WARMING_UP, 80)
    assert report.workers.by_stage[Stage.STT] == StageCount(warm=1, required=2)
    assert assess([worker("a", stt=READY), worker("b", stt=FAILED)], two).state is FleetState.ERROR
    assert assess([worker("a", stt=READY)], two).state is FleetState.INITIALIZING, "one is still to come"
    assert assess([worker("a", stt=READY), worker("b", stt=READY)], two).ready


def test_too_few_workers_are_told_from_workers_that_are_on_their_way() -> None:
    """Else an operator would wait for models that nobody is loading."""
    three = Requirement.of(ReadySettings(), Stage.STT, 3)
    warm = [worker("a", stt=READY, llm=LOADING)]
    short = assess(warm, three)
    assert (short.ready, short.state) == (False, FleetState.INITIALIZING)
    assert short.errors == [
        "stt: 1 of 3 workers that are needed have it warm, and only 1 serves it. Start more, or ask for fewer."
    ]
    two_of_three = assess([*warm, worker("b", stt=LOADING)], three)
    assert two_of_three.state is FleetState.LOADING_MODELS, "which is true of one of them"
    assert two_of_three.errors
    assert not assess([*warm, worker("b", stt=LOADING), worker("c", stt=LOADING)], three).errors
    nobody = assess(warm, Requirement.of(ReadySettings(), Stage.TTS, 2))
    assert (nobody.state, nobody.errors) == (FleetState.INITIALIZING, ["tts: no worker serves it. Start 2."])
    assert not assess([], three).errors, "a fleet that is about to report is no error"


# --- optional stages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("llm", "reason"),
    [
        ({}, "llm is not there: no worker serves it"),
        ({"llm": FAILED}, "llm is not there: it has failed"),
        ({"llm": LOADING}, None),
        ({"llm": READY}, None),
    ],
)
def test_the_loss_of_an_optional_stage_degrades(llm: dict[str, StageReport], reason: str | None) -> None:
    optional = Requirement.of(ReadySettings(critical=("stt", "tts")))
    report = assess([worker(stt=READY, tts=READY, **llm)], optional)
    assert report.ready
    assert report.degraded is (reason is not None)
    assert [it.startswith(reason or "?") for it in report.degraded_reasons] == [True] * report.degraded


def test_a_stage_that_nobody_expects_is_no_loss() -> None:
    unexpected = Requirement.of(ReadySettings(critical=("stt", "tts"), quorum="llm=0"))
    assert not assess([worker(stt=READY, tts=READY)], unexpected).degraded


def test_the_loss_of_a_required_stage_is_not_ready() -> None:
    assert assess([worker(stt=READY, llm=READY, tts=READY)], EVERY).ready
    assert not assess([worker(stt=READY, llm=READY)], EVERY).ready


# --- how long it will take --------------------------------------------------------------------------------------------


def in_s(p50: float, p90: float, report: StageReport = LOADING) -> StageReport:
    return report.model_copy(update={"eta_s": Spread(p50=p50, p90=p90)})


def test_the_fleet_takes_as_long_as_its_slowest_required_stage() -> None:
    report = assess([worker(stt=in_s(3, 9), llm=in_s(4, 5), tts=READY)], EVERY)
    assert report.eta_s == Spread(p50=4, p90=9)
    assert report.services[Stage.STT].eta_s == Spread(p50=3, p90=9)
    assert report.services[Stage.TTS].eta_s is None


def test_of_several_workers_the_soonest_counts_and_more_where_more_are_needed() -> None:
    fleet = [worker("a", stt=in_s(3, 9)), worker("b", stt=in_s(5, 6)), worker("c", stt=LOADING)]
    assert assess(fleet, Requirement.of(ReadySettings(), Stage.STT, 1)).eta_s == Spread(p50=3, p90=6)
    assert assess(fleet, Requirement.of(ReadySettings(), Stage.STT, 2)).eta_s == Spread(p50=5, p90=9)
    assert assess(fleet, Requirement.of(ReadySettings(), Stage.STT, 3)).eta_s is None, "nobody knows of the third"


def test_nothing_is_guessed_where_one_required_stage_cannot_tell() -> None:
    assert assess([worker(stt=in_s(3, 9), llm=LOADING, tts=READY)], EVERY).eta_s is None
    assert assess([worker(stt=in_s(3, 9), tts=READY)], EVERY).eta_s is None, "and a worker is missing"
    assert assess([worker(stt=READY, llm=READY, tts=READY)], EVERY).eta_s is None, "and of what is over"


# --- what strangers get -----------------------------------------------------------------------------------------------


def test_strangers_get_less_than_a_kilobyte_without_engines_and_errors() -> None:
    failed = FAILED.model_copy(update={"engine": "real", "model": "m-1"})
    stages = {stage.value: in_s(1234.567, 9876.543, failed) for stage in Stage}
    fleet = [worker(f"w{number}", **stages) for number in range(1000)]
    report = assess(fleet, Requirement.of(ReadySettings(quorum="999")))
    report.queues = dict.fromkeys(Stage, QueueReport(depth=123456, running=1234, oldest_age_s=12345.678))
    brief = FleetBrief.of(report).model_dump_json()
    assert len(brief) < 1000
    for secret in ("model x", "real", "m-1", "oldest_age"):
        assert secret in report.model_dump_json()
        assert secret not in brief
