"""Delivers webhooks: claims what is due, sends each in a thread of its own, and writes down what came of it.

A courier that dies between sending and writing sends again; the event's id tells the receiver. Knows nothing of jobs.
"""

import logging
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta

from voxqueue import __version__, tracing
from voxqueue.database.session import Sessions, database_errors
from voxqueue.errors import DatabaseUnavailable
from voxqueue.metrics import webhooks as metrics
from voxqueue.settings import WebhooksSettings
from voxqueue.webhooks import events, repository
from voxqueue.webhooks.events import DeliveryState
from voxqueue.webhooks.repository import DISABLED, Owed
from voxqueue.webhooks.schedule import Attempt, Verdict, verdict
from voxqueue.webhooks.signing import signed_headers
from workers.failing import FailureLog
from workers.heartbeat import Beat
from workers.outbound import Outbound
from workers.spans import delivery_span

log = logging.getLogger(__name__)

_LOOK_S = 1.0  # what is due for another attempt asks for nothing
_RECORD_S = 15.0  # how long writing down an attempt is tried; the lease outlasts it
_PAUSE_S = 0.5
_BATCH = 1_000
_REMEMBERED = 1_000  # hosts
_OURS = "Something went wrong on our side, and it is sent again."


class Deliverer:
    """One courier's deliveries: `parallel` of them under way at most, `parallel_per_host` to one host.

    A host that has not answered lately has one: those that hang would have to be as many as there are places to take
    them all.

    Args:
        sessions: For claiming and writing down.
        outbound: Sends.
        settings: How many at a time, and when again.
    """

    def __init__(self, sessions: Sessions, outbound: Outbound, settings: WebhooksSettings) -> None:
        self._sessions = sessions
        self._outbound = outbound
        self._settings = settings
        self._lease_s = settings.timeout_s + _RECORD_S
        self._under_way: Counter[str] = Counter()  # by host
        self._answering: dict[str, None] = {}  # hosts, the latest to answer last
        self._changed = threading.Condition()
        self._failures = FailureLog()
        self._stopping = False
        self._away = False
        self._beat = Beat("deliverer", _LOOK_S, self._look)
        self.start = self._beat.start
        self.nudge = self._beat.nudge

    def stop(self, wait_s: float) -> None:
        """Begin no more, and give what is under way so long to end; others send again what has not."""
        with self._changed:
            self._stopping = True
        self._beat.stop()
        with self._changed:
            if not self._changed.wait_for(lambda: not self._under_way, wait_s):
                log.warning("%d deliveries not ended, they are made again", self._under_way.total())

    def _look(self) -> None:
        """Begin with what is due, as far as there is room."""
        try:
            with database_errors():
                while self._begin():
                    pass
            self._away = False
        except DatabaseUnavailable as error:
            if not self._away:
                log.warning("no deliveries until the database is back: %s", error.__cause__)
            self._away = True

    def _begin(self) -> bool:
        """Claim what is due and begin with it. True: there may be more, and room for it."""
        free, rooms = self._room()
        if free <= 0:
            return False
        with self._sessions.begin() as session:
            claimed = repository.claim(
                session, limit=free, rooms=rooms, lease_s=self._lease_s, rotation_s=self._settings.rotation_s
            )
        for owed in claimed:
            self._count(owed.host, 1)
            try:
                threading.Thread(target=self._deliver, args=(owed,), name="delivery", daemon=True).start()
            except RuntimeError:  # no more threads to be had; the lease runs out
                self._count(owed.host, -1)
                raise
        return len(claimed) == free

    def _room(self) -> tuple[int, dict[str, int]]:
        """How many more may be begun with, and how many of them for each host where that is not one."""
        with self._changed:
            rooms = dict.fromkeys(self._answering, self._settings.parallel_per_host)
            for host, number in self._under_way.items():
                rooms[host] = max(0, rooms.get(host, 1) - number)
            free = self._settings.parallel - self._under_way.total()
            return 0 if self._stopping else free, rooms

    def _deliver(self, owed: Owed) -> None:
        """Make one attempt and write it down."""
        try:
            if owed.is_disabled:
                self._record(owed, Attempt(duration_ms=0, error=DISABLED), Verdict(DeliveryState.FAILED))
                return
            with delivery_span(owed) as tell:
                attempt = self._attempt(owed)
                tell(attempt)
            decided = verdict(
                attempt,
                owed.attempts + 1,
                self._settings.schedule,
                ended_at=owed.claimed_at + timedelta(milliseconds=attempt.duration_ms),
                jitter=random.uniform(-1, 1),
            )
            disabled = self._record(owed, attempt, decided)
            metrics.attempted(attempt, decided)
            if not attempt.succeeded:
                again = decided.state is DeliveryState.PENDING and not disabled
                self._failures.failed(owed, attempt, decided.due_in_s if again else None)
            if disabled:
                self._disabled(owed, attempt)
        except Exception:
            log.exception("delivery %s is not written down, it is made again", owed.id)
        finally:
            self._count(owed.host, -1)
            self.nudge()  # there is room now, and what comes after this one may be sent

    def _attempt(self, owed: Owed) -> Attempt:
        body = events.body(owed.type, created_at=owed.created_at, sequence=owed.sequence, data=owed.data)
        try:
            headers = {
                "Content-Type": "application/json",
                "User-Agent": f"Voxqueue/{__version__}",
                **tracing.carried(),
                # The database's clock, as for everything: this machine's may be wrong, and receivers look at it.
                **signed_headers(owed.event_id, owed.claimed_at, body, owed.secrets),
            }
            attempt = self._outbound.post(owed.url, headers, body)
        except Exception:
            log.exception("delivery %s to %s broke", owed.id, owed.host)
            return Attempt(duration_ms=0, error=_OURS)
        self._remember(owed.host, attempt)
        return attempt

    def _remember(self, host: str, attempt: Attempt) -> None:
        """Keep in mind which hosts answer."""
        with self._changed:
            self._answering.pop(host, None)
            if attempt.status is not None and attempt.error is None:
                self._answering[host] = None
            if len(self._answering) > _REMEMBERED:
                del self._answering[next(iter(self._answering))]

    def _record(self, owed: Owed, attempt: Attempt, decided: Verdict) -> bool:
        """Write an attempt down, and wait for the database a while: what is not written down is sent again.

        Returns whether the endpoint is disabled from now on, because of it.
        """
        until = time.monotonic() + _RECORD_S
        while True:
            try:
                with database_errors(), self._sessions.begin() as session:
                    return repository.record(
                        session, owed, attempt, decided, disable_after_s=self._settings.disable_after_s
                    )
            except DatabaseUnavailable:
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_S)

    def _disabled(self, owed: Owed, attempt: Attempt) -> None:
        """End what else is owed to an endpoint that was just disabled. What is missed fails when it is due."""
        metrics.endpoint_disabled()
        self._failures.disabled(owed, attempt, self._settings.disable_after_s)
        assert owed.endpoint_id is not None
        with suppress(DatabaseUnavailable):
            ended = _BATCH
            while ended == _BATCH:
                with database_errors(), self._sessions.begin() as session:
                    ended = repository.fail_pending(session, owed.endpoint_id, _BATCH)

    def _count(self, host: str, more: int) -> None:
        with self._changed:
            self._under_way[host] += more
            if not self._under_way[host]:
                del self._under_way[host]
            self._changed.notify_all()
