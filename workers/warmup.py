"""Loads and warms the engines of a worker, and tells how far it is.

Warm means that real inference has run through the production path, at each batch size that will occur. The first engine
of a stage's list that gets there is used; why the others did not is part of the report.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from voxqueue.errors import VoxqueueError
from voxqueue.fleet import EngineStatus, StageReport, Voice, VoicesReport
from voxqueue.settings import Settings
from voxqueue.stages import Stage
from workers.engines.base import AnyEngine, TtsEngine
from workers.engines.registry import create_engine
from workers.serving import Served
from workers.turns import Turns

log = logging.getLogger(__name__)

_LOADING = 5
_LOADED = 40  # percent of the way: what is left is warming


class Warmup:
    """The engines of one worker on their way to being warm. `reports` may be read at any time from any thread.

    `voices` are those of text to speech, once that is warm.
    """

    def __init__(self, stages: Iterable[Stage], settings: Settings, on_change: Callable[[], None]) -> None:
        self.reports = {stage: StageReport() for stage in stages}
        self.served: dict[Stage, Served] = {}
        self.voices: VoicesReport | None = None
        self._settings = settings
        self._on_change = on_change
        self._turns = Turns()
        self._lock = threading.Lock()

    def snapshot(self) -> dict[Stage, StageReport]:
        """The reports as they are now. A stage whose engine is in trouble has failed for as long as that lasts."""
        with self._lock:
            reports = {stage: report.model_copy() for stage, report in self.reports.items()}
        for stage, report in reports.items():
            trouble = self.served[stage].engine.trouble if stage in self.served else None
            if trouble and report.status is EngineStatus.READY:
                reports[stage] = report.model_copy(
                    update={"status": EngineStatus.FAILED, "progress": 99, "error": trouble}
                )
        return reports

    def fail(self, stage: Stage, error: str) -> None:
        """Take back that a stage is warm."""
        self._tell(stage, status=EngineStatus.FAILED, progress=0, error=error)

    def warm(self, stage: Stage) -> bool:
        """Bring one stage to being warm. False: none of its engines can be used now, and the report says why."""
        passed_over: list[str] = []
        for name in self._settings.engine_names(stage):
            try:
                engine = self._warm_engine(stage, name)
            except VoxqueueError as error:
                log.warning("%s engine %s cannot be used: %s", stage, name, error.detail)
                passed_over.append(f"{stage}: {name} is not used: {error.detail}")
                self._tell(stage, error=error.detail, detail=None)
            except Exception as error:  # what a runtime raises on import must not keep the next engine from its turn
                log.exception("%s engine %s cannot be used", stage, name)
                detail = f"{type(error).__name__}: {error}"[:400]
                passed_over.append(f"{stage}: {name} is not used: {detail}")
                self._tell(stage, error=detail, detail=None)
            else:
                why = [f"{stage}: {engine.stand_in}"] if engine.stand_in else []
                self._tell(stage, status=EngineStatus.READY, progress=100, error=None, degraded=passed_over + why)
                return True
        nothing = f"No engine of {stage} can be used. " + " ".join(passed_over)
        self._tell(stage, status=EngineStatus.FAILED, progress=0, error=nothing.strip())
        return False

    def _warm_engine(self, stage: Stage, name: str) -> AnyEngine:
        self._tell(stage, status=EngineStatus.LOADING, progress=_LOADING, engine=name)
        engine = create_engine(stage, name, self._settings)
        engine.on_progress = lambda what, share: self._tell_loading(stage, what, share)
        began = time.monotonic()
        engine.load()
        loaded = time.monotonic()
        self._tell(
            stage,
            status=EngineStatus.WARMING,
            progress=_LOADED,
            detail=None,
            model=engine.model,
            device=engine.device,
            dtype=engine.dtype,
            load_time_ms=round((loaded - began) * 1000, 1),
        )
        served = Served(engine, self._settings.stage(stage), self._turns)
        try:
            self._infer(stage, served)
            voices = _report_voices(engine) if isinstance(engine, TtsEngine) else self.voices
        except BaseException:
            served.stop(wait_s=5)
            if not served.batcher.busy_s():  # a call that hangs still uses it
                engine.close()
            raise
        self.served[stage], self.voices = served, voices
        self._tell(stage, warmup_time_ms=round((time.monotonic() - loaded) * 1000, 1))
        return engine

    def _infer(self, stage: Stage, served: Served) -> None:
        """Real inference at batch 1, 4 and the largest, of the shortest and the longest input."""
        sizes = sorted({1, min(4, served.max_batch), served.max_batch})
        rounds = [(size, longest) for size in sizes for longest in (False, True)]
        for done, (size, longest) in enumerate(rounds, start=1):
            served.infer_together([served.engine.warmup_request(longest)] * size)
            self._tell(stage, progress=_LOADED + (99 - _LOADED) * done // len(rounds))

    def _tell_loading(self, stage: Stage, what: str, share: float) -> None:
        """How far a long step of loading is, in whole percents."""
        detail = f"{what}: {100 * share:.0f} %"
        before = self.reports[stage]
        if detail != before.detail:
            progress = max(before.progress, round(_LOADING + (_LOADED - _LOADING) * share))
            self._tell(stage, detail=detail, progress=progress)

    def _tell(self, stage: Stage, **changes: Any) -> None:
        with self._lock:
            self.reports[stage] = self.reports[stage].model_copy(update=changes)
        self._on_change()


def _report_voices(engine: TtsEngine[Any, Any]) -> VoicesReport:
    voices = [Voice(name=voice.name, language=voice.language) for voice in engine.voices()]
    return VoicesReport(engine=engine.name, model=engine.model, voices=voices, variants=list(engine.variants()))
