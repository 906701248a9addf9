"""A worker without Celery, whose engines wait at a gate, and a lock at which it hangs where a test wants it to.

To catch a worker between two statements, a test holds the job's row in Postgres: the worker then hangs at the very
statement that it wants to make next.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from tests.patience import until
from voxqueue.database.session import Sessions
from voxqueue.jobs.changes import Announcer
from voxqueue.queue import JobQueue
from voxqueue.settings import Settings, StageSettings
from voxqueue.stages import Stage
from voxqueue.storage import open_store
from workers.engines.llm.fake import FakeLlmEngine
from workers.engines.tts.fake import FakeTtsEngine
from workers.heartbeat import LeaseBeat
from workers.ledger import Ledger
from workers.runner import Runner
from workers.serving import Served
from workers.steps import create_steps

_WAIT_S = 20


class Gate:
    """Where model calls wait. Open unless closed; remembers the texts that came by."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._reached = threading.Semaphore(0)
        self._open = threading.Event()
        self._open.set()

    def pass_by(self, batch: Sequence[Any]) -> None:
        self.texts += [request.text for request in batch]
        self._reached.release()
        assert self._open.wait(_WAIT_S)

    @contextmanager
    def closed(self) -> Iterator[Callable[[], None]]:
        """Until the block ends. Yields what waits for somebody to come."""
        self._open.clear()
        try:
            yield lambda: _true(self._reached.acquire(timeout=_WAIT_S))
        finally:
            self._open.set()


class GatedLlm(FakeLlmEngine):
    gate: Gate

    def run(self, batch: Sequence[Any]) -> Any:
        self.gate.pass_by(batch)
        return super().run(batch)


class GatedTts(FakeTtsEngine):
    gate: Gate

    def run(self, batch: Sequence[Any]) -> Any:
        self.gate.pass_by(batch)
        return super().run(batch)


class GatedWorker:
    """A worker without Celery: its runner, the gates of its engines, and the jobs that it runs in threads."""

    def __init__(self, sessions: Sessions, settings: Settings, stages: Sequence[Stage]) -> None:
        self.sessions = sessions
        self.gates = {stage: Gate() for stage in stages}
        self.store, self.queue = open_store(settings), JobQueue(settings)
        self._announcer = Announcer(settings.redis)
        self._served: dict[Stage, Served] = {}
        for stage in stages:
            engine = GatedLlm(settings) if stage is Stage.LLM else GatedTts(settings)
            engine.gate = self.gates[stage]
            engine.load()
            self._served[stage] = Served(engine, StageSettings())
        self._ledger = Ledger(sessions.kw["bind"], self._announcer, lambda: None, is_crowded=lambda: False)
        self.runner = Runner(
            worker="w",
            served=self._served,
            steps=create_steps(settings, self.store),
            ledger=self._ledger,
            queue=self.queue,
            store=self.store,
            settings=settings.jobs,
        )
        self.beat = LeaseBeat(self.runner, sessions, self._announcer, settings.jobs.lease_s)
        self._threads: list[threading.Thread] = []

    def begin(self, job_id: UUID) -> None:
        self._threads.append(threading.Thread(target=self.runner.run, args=(job_id,)))
        self._threads[-1].start()

    def end(self) -> None:
        """Wait until every job has been let go of."""
        for thread in self._threads:
            thread.join(_WAIT_S)
            assert not thread.is_alive()
        self._threads.clear()

    def leave(self) -> None:
        self.end()
        for served in self._served.values():
            served.stop(wait_s=_WAIT_S)
        self._ledger.stop()
        self._announcer.close()
        self.queue.close()

    def speech(self) -> list[str]:
        return [listed.key for listed in self.store.list("speech/")]


@contextmanager
def held_row(sessions: Sessions, job_id: UUID) -> Iterator[tuple[Connection, Callable[[], None]]]:
    """Hold a job's row until the block ends. Yields the connection, and what waits until somebody hangs at it."""
    with sessions.begin() as session:
        session.execute(text("SELECT FROM jobs WHERE id = :id FOR UPDATE"), {"id": job_id})
        yield session.connection(), lambda: until_blocked(sessions)


def until_blocked(sessions: Sessions) -> None:
    """Wait until somebody hangs at a lock in this database."""
    blocked = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def is_blocked() -> bool:
        with sessions() as session:
            return bool(session.scalar(blocked))

    until(is_blocked, _WAIT_S)


def _true(value: bool) -> None:
    assert value, "it did not come about in time"


Hire = Callable[..., GatedWorker]
"""Makes a worker for these stages, or all that such a one knows."""


@contextmanager
def hiring(sessions: Sessions, settings: Settings) -> Iterator[Hire]:
    """Workers that leave when the block ends."""
    hired: list[GatedWorker] = []

    def hire(*stages: Stage) -> GatedWorker:
        hired.append(GatedWorker(sessions, settings, stages or (Stage.LLM, Stage.TTS)))
        return hired[-1]

    yield hire
    for worker in hired:
        worker.leave()
