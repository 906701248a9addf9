"""Keeps a worker's word: its report to the fleet, the leases of the jobs that it holds, and how far these are.

All are renewed from threads of their own, so that neither a long model call nor a database that is away makes a worker
look dead. A model call that overruns its deadline ends the process: nothing else ends a thread that hangs.
"""

import logging
import math
import os
import threading
from collections.abc import Callable

import redis

from voxqueue.database.session import Sessions, database_errors
from voxqueue.errors import DatabaseUnavailable
from voxqueue.fleet import Fleet, VoicesReport, WorkerReport
from voxqueue.jobs import repository
from voxqueue.jobs.changes import Announcer
from voxqueue.jobs.repository import Claim
from voxqueue.jobs.states import JobState
from voxqueue.stages import Stage
from voxqueue.tracing import end_tracing
from workers.runner import Held, Runner
from workers.warmup import Warmup

log = logging.getLogger(__name__)

_LOOK_S = 1.0  # how long progress may go untold
_SETTLE_S = 1.0  # for the jobs in the call to be written down as late; whatever else is held is not to blame
EXIT_HUNG = 70  # a supervisor starts the worker anew


class Beat:
    """Calls something in regular intervals, and at once when nudged, until stopped."""

    def __init__(self, name: str, interval_s: float, beat: Callable[[], object]) -> None:
        self._interval_s = interval_s
        self._beat = beat
        self._nudged = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def nudge(self) -> None:
        """Beat now."""
        self._nudged.set()

    def stop(self) -> None:
        self._stopped = True
        self._nudged.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopped:
            self._nudged.clear()
            try:
                self._beat()
            except Exception:
                log.exception("%s failed; it goes on", self._thread.name)
            self._nudged.wait(self._interval_s)


class FleetBeat:
    """Reports to the fleet: what is warm, and the voices there are once text to speech is.

    `on_warmup` is called when somebody asks the fleet to try its engines again.
    """

    def __init__(
        self,
        report: Callable[[], WorkerReport],
        fleet: Fleet,
        voices: Callable[[], VoicesReport | None] = lambda: None,
        on_warmup: Callable[[], None] = lambda: None,
    ) -> None:
        self._report = report
        self._voices = voices
        self._on_warmup = on_warmup
        self._warmups: int | None = None
        self._fleet = fleet
        self._away = False

    def __call__(self) -> None:
        try:
            warmups = self._fleet.beat(self._report(), self._voices())
        except redis.RedisError as error:
            if not self._away:
                log.warning("Redis is away; this worker counts as gone until it is back: %s", error)
            self._away = True
        else:
            if self._away:
                log.info("Redis is back")
            self._away = False
            if warmups != self._warmups and self._warmups is not None:
                self._on_warmup()
            self._warmups = warmups


class LeaseBeat:
    """Renews the leases of the jobs held every third of one, and tells the runner which are lost.

    It is called more often than that, every `interval_s`, and then looks after those jobs only that have made progress:
    their leases are renewed as well, and how far they are is written down and announced.
    """

    def __init__(self, runner: Runner, sessions: Sessions, announcer: Announcer, lease_s: float) -> None:
        self._runner = runner
        self._sessions = sessions
        self._announcer = announcer
        self._lease_s = lease_s
        self._looks = max(1, math.ceil(lease_s / 3 / _LOOK_S))  # from one renewal of all leases to the next
        self._look = 0
        self._told: dict[Claim, tuple[Stage, float]] = {}
        self.interval_s = lease_s / 3 / self._looks

    def __call__(self) -> None:
        all_held = {one.claim: one for one in self._runner.held()}
        self._told = {claim: told for claim, told in self._told.items() if claim in all_held}
        made = {claim: reached for claim, one in all_held.items() if (reached := self._progress(one)) is not None}
        held = all_held if self._look == 0 else {claim: all_held[claim] for claim in made}
        self._look = (self._look + 1) % self._looks
        if not held:
            return
        try:
            with database_errors(), self._sessions.begin() as session:
                kept = repository.renew(session, held.keys(), self._lease_s)
                news = {claim: reached for claim, reached in made.items() if claim in kept}
                if news:
                    repository.tell_progress(session, [(claim[0], *reached) for claim, reached in news.items()])
        except DatabaseUnavailable as error:
            log.warning("%d leases not renewed: %s", len(held), error.__cause__)
            return
        for claim in held.keys() - kept:  # canceled, returned by the sweep, or just finished
            held[claim].lost = True
        self._told |= news
        for job_id, _ in news:
            self._announcer.announce(job_id, JobState.RUNNING)

    def _progress(self, held: Held) -> tuple[Stage, float] | None:
        """The stage of a job and how much of it is done, where that has not been told yet."""
        stage = held.stage  # first, see `Held.go_on`
        reached = stage, held.progress
        return reached if reached[1] > 0 and reached != self._told.get(held.claim) else None


class Watchdog:
    """Ends the process when a model call has overrun its deadline by far, or an engine hangs while it is loaded.

    Its jobs then run elsewhere, and a supervisor starts the worker anew. `load_s` is how long loading may go on without
    a sign of progress.
    """

    def __init__(self, runner: Runner, warmup: Warmup, last_words: Callable[[], None], load_s: float) -> None:
        self._runner = runner
        self._warmup = warmup
        self._last_words = last_words
        self._load_s = load_s

    def __call__(self) -> None:
        for stage, served in list(self._runner.served.items()):
            busy_s = served.batcher.busy_s()
            if busy_s > served.batcher.deadline_s + _SETTLE_S:
                self._give_up(stage, f"{served.engine.name} hung for {busy_s:.0f} s")
        silence = self._warmup.silence()
        if silence and silence[1] > self._load_s:
            self._give_up(silence[0], f"Loading its engine made no progress for {silence[1]:.0f} s")

    def _give_up(self, stage: Stage, why: str) -> None:
        log.critical("%s: %s; this worker gives up", stage, why)
        self._warmup.fail(stage, f"{why}; the worker is being replaced.")
        try:
            self._last_words()
            self._runner.stop()
            self._runner.put_back_all()
        finally:
            end_tracing()
            os._exit(EXIT_HUNG)
