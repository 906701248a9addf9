"""Keeps a worker's word: its report to the fleet, and the leases of the jobs that it holds.

Both are renewed from threads of their own, so that neither a long model call nor a database that is away makes a worker
look dead. A model call that overruns its deadline ends the process: nothing else ends a thread that hangs.
"""

import logging
import os
import threading
from collections.abc import Callable

import redis

from voxqueue.database.session import Sessions, database_errors
from voxqueue.errors import DatabaseUnavailable
from voxqueue.fleet import Fleet, WorkerReport
from voxqueue.jobs import repository
from workers.runner import Runner
from workers.warmup import Warmup

log = logging.getLogger(__name__)

_SETTLE_S = 1.0  # for the jobs in the call to be written down as late; whatever else is held is not to blame
EXIT_HUNG = 70  # a supervisor starts the worker anew


class Beat:
    """Calls something in regular intervals, and at once when nudged, until stopped."""

    def __init__(self, name: str, interval_s: float, beat: Callable[[], None]) -> None:
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
    """Reports to the fleet, and watches for engines that hang."""

    def __init__(self, report: Callable[[], WorkerReport], fleet: Fleet) -> None:
        self._report = report
        self._fleet = fleet
        self._away = False

    def __call__(self) -> None:
        try:
            self._fleet.beat(self._report())
        except redis.RedisError as error:
            if not self._away:
                log.warning("Redis is away; this worker counts as gone until it is back: %s", error)
            self._away = True
        else:
            if self._away:
                log.info("Redis is back")
            self._away = False


class LeaseBeat:
    """Renews the leases of the jobs held, and tells the runner which are lost."""

    def __init__(self, runner: Runner, sessions: Sessions, lease_s: float) -> None:
        self._runner = runner
        self._sessions = sessions
        self._lease_s = lease_s

    def __call__(self) -> None:
        held = {one.claim: one for one in self._runner.held()}
        if not held:
            return
        try:
            with database_errors(), self._sessions.begin() as session:
                kept = repository.renew(session, held.keys(), self._lease_s)
        except DatabaseUnavailable as error:
            log.warning("%d leases not renewed: %s", len(held), error.__cause__)
            return
        for claim in held.keys() - kept:  # canceled, returned by the sweep, or just finished
            held[claim].lost = True


class Watchdog:
    """Ends the process when a model call has overrun its deadline by far; its jobs then run elsewhere."""

    def __init__(self, runner: Runner, warmup: Warmup, last_words: Callable[[], None]) -> None:
        self._runner = runner
        self._warmup = warmup
        self._last_words = last_words

    def __call__(self) -> None:
        for stage, served in list(self._runner.served.items()):
            busy_s = served.batcher.busy_s()
            if busy_s > served.batcher.deadline_s + _SETTLE_S:
                log.critical("%s has hung for %.0f s; this worker gives up", served.engine.name, busy_s)
                self._warmup.fail(stage, f"{served.engine.name} hung for {busy_s:.0f} s; the worker is being replaced.")
                try:
                    self._last_words()
                    self._runner.stop()
                    self._runner.put_back_all()
                finally:
                    os._exit(EXIT_HUNG)
