"""How long it took to be warm before: recalled from the database when a worker starts, and written down for the next.

A database that is away costs the forecast, or the row, and never holds up the start.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from voxqueue.database.session import Sessions, database_errors
from voxqueue.errors import DatabaseUnavailable
from voxqueue.fleet import StageReport, history
from voxqueue.fleet.forecast import Expected, expect
from voxqueue.fleet.models import StageWarmup
from voxqueue.models import engine_models
from voxqueue.settings import Settings
from voxqueue.stages import Stage

log = logging.getLogger(__name__)


class Past:
    """Earlier starts of machines like this one, the newest first; none until `starts` are filled in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.starts: Sequence[StageWarmup] = ()

    def expected(self, stage: Stage, engines: Iterable[str]) -> Expected | None:
        """What a start takes with the engine of these that was warm last, and with the model that the settings name."""
        models = {name: _models(self._settings, name) for name in engines}
        alike = [
            start
            for start in self.starts
            if start.stage is stage and start.engine in models and _fits(start, models[start.engine])
        ]
        return self._expected_like(alike[0].stage, alike[0].engine, alike[0].model, alike[0].device) if alike else None

    def expected_of(self, stage: Stage, report: StageReport) -> Expected | None:
        """What a start takes with the engine, the model and the device of a report."""
        return self._expected_like(stage, report.engine, report.model, report.device)

    def _expected_like(self, *key: object) -> Expected | None:
        return expect([start for start in self.starts if (start.stage, start.engine, start.model, start.device) == key])


class Memory:
    """Where the past comes from, and goes to."""

    def __init__(self, sessions: Sessions, past: Past, worker: str, host_class: str) -> None:
        self._sessions = sessions
        self._past = past
        self._worker = worker
        self._host_class = host_class

    def recall(self) -> None:
        """Fill in the past, beside everything else."""
        _aside(self._recall)

    def note(self, stage: Stage, report: StageReport) -> None:
        """Write down how long a stage took that has become warm, beside everything else."""
        _aside(lambda: self._note(stage, report))

    def _recall(self) -> None:
        try:
            with database_errors(), self._sessions() as session:
                self._past.starts = history.of_host(session, self._host_class)
        except DatabaseUnavailable as error:
            log.warning("nothing is known of earlier starts: %s", error.detail)

    def _note(self, stage: Stage, report: StageReport) -> None:
        start = StageWarmup(
            worker=self._worker,
            host_class=self._host_class,
            stage=stage,
            engine=report.engine,
            model=report.model,
            device=report.device,
            dtype=report.dtype,
            load_ms=report.load_time_ms,
            warmup_ms=report.warmup_time_ms,
        )
        try:
            with database_errors(), self._sessions.begin() as session:
                history.note(session, start)
        except DatabaseUnavailable as error:
            log.warning("how long %s took to be warm is not written down: %s", stage, error.detail)


def _aside(do: Callable[[], None]) -> None:
    threading.Thread(target=do, name="past", daemon=True).start()


def _models(settings: Settings, engine: str) -> set[str | None]:
    """What the engine may call the model that the settings name; empty where it brings its own."""
    models = engine_models(settings, engine)
    if engine == "openai":
        return {settings.openai.model} if settings.openai.model else set()
    folders = {model.folder.name for model in models if model.folder is not None}
    joined = {", ".join(model.name for model in models)} if models else set()
    return {model.name for model in models} | {model.repo for model in models} | folders | joined


def _fits(start: StageWarmup, models: set[str | None]) -> bool:
    return not models or start.model in models
