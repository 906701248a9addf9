"""Loads and warms the engines of a worker, and tells how far it is.

Warm means that real inference has run through the production path, at each batch size that will occur. The first engine
of a stage's list that gets there is used; why the others did not is part of the report.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from voxqueue.errors import EngineUnusable, VoxqueueError
from voxqueue.fleet import EngineStatus, Spread, StageReport, Voice, VoicesReport
from voxqueue.metrics import engines as metrics
from voxqueue.settings import Settings
from voxqueue.stages import Stage
from workers.engines.base import AnyEngine, TtsEngine, is_out_of_memory
from workers.engines.registry import create_engine
from workers.pace import Pace
from workers.past import Past
from workers.serving import Served
from workers.turns import Turns

log = logging.getLogger(__name__)

_END_S = 5  # for a model call to end, once no more will be made
_NO_TIME = Spread(p50=0, p90=0)


class Warmup:
    """The engines of one worker on their way to being warm, one after the other. Any thread may ask how they stand.

    `voices` are those of text to speech, once that is warm.

    Args:
        stages: What is to be warmed, in this order.
        settings: Which engines, with which models.
        on_change: Called when there is something new to report.
        past: What it took before.
        on_warm: Told of each stage that has become warm.
    """

    def __init__(
        self,
        stages: Iterable[Stage],
        settings: Settings,
        on_change: Callable[[], None],
        past: Past | None = None,
        on_warm: Callable[[Stage, StageReport], None] = lambda stage, report: None,
    ) -> None:
        self.served: dict[Stage, Served] = {}
        self.voices: VoicesReport | None = None
        self._reports = {stage: StageReport() for stage in stages}
        self._paces = {stage: Pace() for stage in self._reports}
        self._doubts: dict[Stage, str] = {}
        self._in_vain: dict[tuple[Stage, str], Served] = {}  # what could not be warmed, and is not closed yet
        self._signed_at = time.monotonic()  # when loading last gave a sign of progress
        self._settings = settings
        self._on_change = on_change
        self._past = past or Past(settings)
        self._on_warm = on_warm
        self._turns = Turns()
        self._lock = threading.Lock()

    def snapshot(self) -> dict[Stage, StageReport]:
        """The reports as they are now. A stage whose engine is in trouble has failed for as long as that lasts."""
        with self._lock:
            reports = self._timed()
        for stage, report in reports.items():
            trouble = self._doubts.get(stage) or (self.served[stage].engine.trouble if stage in self.served else None)
            if trouble and report.status is EngineStatus.READY:
                reports[stage] = in_trouble(report, trouble)
        return reports

    def silence(self) -> tuple[Stage, float] | None:
        """The stage whose engine is being loaded, and the seconds since it last gave a sign of progress."""
        loading = (stage for stage, report in self._reports.items() if report.status is EngineStatus.LOADING)
        return next(((stage, time.monotonic() - self._signed_at) for stage in loading), None)

    def fail(self, stage: Stage, error: str) -> None:
        """Take back that a stage is warm, or on its way there."""
        self._tell(stage, status=EngineStatus.FAILED, error=error)

    def doubt(self, stage: Stage, why: str | None) -> None:
        """Have a stage count as failed although it was warm; None: it works again."""
        if why is None:
            self._doubts.pop(stage, None)
        else:
            self._doubts[stage] = why
        self._on_change()

    def warm(self, stage: Stage) -> bool:
        """Bring one stage to being warm. False: none of its engines can be used now, and the report says why."""
        passed_over: list[str] = []
        if self._reports[stage].status is EngineStatus.FAILED:
            self._tell(stage, error=f"Tried again now. Before: {self._reports[stage].error}")
        for name in self._settings.engine_names(stage):
            try:
                engine = self._warm_engine(stage, name)
            except BaseException as error:  # also what a runtime raises on import, and the panics of one in Rust
                is_known = isinstance(error, VoxqueueError)
                log.warning("%s engine %s cannot be used: %s", stage, name, error, exc_info=not is_known)
                passed_over.append(_why_not(stage, name, error))
                self._tell(stage, error=passed_over[-1], detail=None)
            else:
                reasons = [*passed_over, *([engine.stand_in] if engine.stand_in else [])]
                degraded = [f"{stage}: {reason}" for reason in reasons]
                self._tell(stage, status=EngineStatus.READY, error=None, degraded=degraded)
                self._paces[stage].arrive()  # last: until it is told, the stage is on its way
                self._on_warm(stage, self._reports[stage])
                return True
        nothing = " ".join(["No engine can be used.", *passed_over])
        self._paces[stage].give_up()
        self._tell(stage, status=EngineStatus.FAILED, error=nothing)
        return False

    def _warm_engine(self, stage: Stage, name: str) -> AnyEngine:
        self._let_go_of(stage, name)
        if (stage, name) in self._in_vain:  # another one beside it would take as much memory again
            raise EngineUnusable(
                f"{name} still hangs in a model call of the last try. Look at what it runs on, and restart the worker."
            )
        self._paces[stage].load(self._past.expected(stage, [name]))
        self._signed_at = time.monotonic()
        self._tell(stage, **_NOTHING_YET, status=EngineStatus.LOADING, engine=name)
        engine = create_engine(stage, name, self._settings)
        engine.on_progress = lambda what, share: self._tell_loading(stage, what, share)
        began = time.monotonic()
        engine.load()
        loaded = time.monotonic()
        self._tell(
            stage,
            status=EngineStatus.WARMING,
            detail=None,
            model=engine.model,
            device=engine.device,
            dtype=engine.dtype,
            load_time_ms=round((loaded - began) * 1000, 1),
        )
        self._paces[stage].warm(self._past.expected_of(stage, self._reports[stage]))
        served = Served(engine, self._settings.stage(stage), self._turns)
        try:
            self._infer(stage, served)
            voices = _report_voices(engine) if isinstance(engine, TtsEngine) else self.voices
        except BaseException:
            served.stop(wait_s=_END_S)
            self._in_vain[stage, name] = served
            self._let_go_of(stage, name)
            raise
        served.warmup_s = time.monotonic() - loaded
        metrics.warmed(stage, engine.name, load_s=loaded - began, warmup_s=served.warmup_s)
        self.served[stage], self.voices = served, voices
        self._tell(stage, warmup_time_ms=round(served.warmup_s * 1000, 1))
        return engine

    def _let_go_of(self, stage: Stage, name: str) -> None:
        """Give back the memory of an engine that could not be warmed, if there is one and it does not hang."""
        served = self._in_vain.get((stage, name))
        if served is not None and not served.batcher.busy_s():
            served.engine.close()
            del self._in_vain[stage, name]

    def _infer(self, stage: Stage, served: Served) -> None:
        """Real inference at batch 1, 4 and the largest, of the shortest and the longest input."""
        sizes = sorted({1, min(4, served.max_batch), served.max_batch})
        rounds = [(size, longest) for size in sizes for longest in (False, True)]
        for done, (size, longest) in enumerate(rounds, start=1):
            served.infer_together([served.engine.warmup_request(longest)] * size)
            self._paces[stage].reach(done / len(rounds))
            self._on_change()

    def _tell_loading(self, stage: Stage, what: str, share: float) -> None:
        """How far a long step of loading is, in whole percents."""
        detail = f"{what}: {100 * share:.0f} %"
        self._paces[stage].reach(share)
        self._signed_at = time.monotonic()
        if detail != self._reports[stage].detail:
            self._tell(stage, detail=detail)

    def _timed(self) -> dict[Stage, StageReport]:
        """The reports with how far each stage is, and how long it will still take: those before it come first."""
        timed: dict[Stage, StageReport] = {}
        ahead: Spread | None = _NO_TIME
        for stage, report in self._reports.items():
            if report.status is EngineStatus.READY:
                timed[stage] = report.model_copy(update={"progress": 100})
                continue
            eta = None
            if report.status is not EngineStatus.FAILED:
                own = self._paces[stage].eta(self._past.expected(stage, self._settings.engine_names(stage)))
                ahead = eta = own + ahead if ahead and own else None
            timed[stage] = report.model_copy(update={"progress": self._paces[stage].progress(), "eta_s": eta})
        return timed

    def _tell(self, stage: Stage, **changes: Any) -> None:
        with self._lock:
            self._reports[stage] = self._reports[stage].model_copy(update=changes)
        self._on_change()


_NOTHING_YET = dict.fromkeys(("detail", "model", "device", "dtype", "load_time_ms", "warmup_time_ms"))


def _why_not(stage: Stage, name: str, error: BaseException) -> str:
    """One sentence or two that name an engine: why it cannot be used, and what to do about it."""
    if is_out_of_memory(error):
        return (
            f"{name} does not fit into memory. Free some (on a GPU, `nvidia-smi` shows who holds it), name a smaller "
            f"model, lower VOXQUEUE_{stage.upper()}_MAX_BATCH, or choose another device."
        )
    why = error.detail if isinstance(error, VoxqueueError) else f"{type(error).__name__}: {error}"[:400]
    return why if why.startswith(f"{name} ") else f"{name} is not used: {why}"


def in_trouble(report: StageReport, why: str) -> StageReport:
    """What is to be reported of a stage that is warm, and yet cannot work."""
    return report.model_copy(update={"status": EngineStatus.FAILED, "progress": 99, "error": why})


def _report_voices(engine: TtsEngine[Any, Any]) -> VoicesReport:
    voices = [Voice(name=voice.name, language=voice.language) for voice in engine.voices()]
    return VoicesReport(engine=engine.name, model=engine.model, voices=voices, variants=list(engine.variants()))
