"""Writes down what becomes of jobs, for all threads of a worker: many moves in one statement.

Moves are gathered as an engine's requests are: what comes in while a statement is under way goes into the next one.
Once they are committed, the changes are announced.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from voxqueue.database.session import database_errors
from voxqueue.errors import DatabaseUnavailable, LedgerError, VoxqueueError
from voxqueue.jobs import lifecycle
from voxqueue.jobs.changes import Announcer
from voxqueue.jobs.lifecycle import ClaimedJob, Move, Moved
from voxqueue.metrics import jobs as metrics
from voxqueue.stages import Stage
from workers.batching import Batcher

log = logging.getLogger(__name__)

_MAX_MOVES = 128
_DEADLINE_S = 60.0
_LINGER_S = 0.01  # a statement costs the worker about 1 ms, however many moves it makes


class Ledger:
    """The worker's pen. Each method waits until its move is committed, and raises only `VoxqueueError`.

    Args:
        engine: The database.
        announcer: Is told of every move.
        owes: Called after a commit by which somebody is owed a delivery. It must not block.
        is_crowded: Whether so many jobs are under way that waiting a moment for further moves pays.
    """

    def __init__(
        self, engine: Engine, announcer: Announcer, owes: Callable[[], object], *, is_crowded: Callable[[], bool]
    ) -> None:
        # A move is one statement: without a transaction around it, it costs one round trip.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._connection: Connection | None = None  # the batcher's thread keeps its own
        self._announcer = announcer
        self._owes = owes
        self._batcher: Batcher[Move, Moved | None] = Batcher(
            "ledger",
            self._write,
            max_count=_MAX_MOVES,
            deadline_s=_DEADLINE_S,
            linger_s=lambda: _LINGER_S if is_crowded() else 0.0,
        )

    def claim(self, job_id: UUID, *, worker: str, stages: Iterable[Stage], lease_s: float) -> ClaimedJob | None:
        """Take a job. None: it is not to be had (taken, finished, not due, or at a stage not served here)."""
        moved = self.move(lifecycle.claim(job_id, worker=worker, stages=stages, lease_s=lease_s))
        return moved.claimed if moved else None

    def move(self, wanted: Move) -> Moved | None:
        """Move a job that is held. None: it is held no more.

        Raises:
            DatabaseUnavailable: It is not known whether the move was made.
            LedgerError: The database refused what was to be written.
        """
        return self.begin(wanted)()

    def begin(self, wanted: Move) -> Callable[[], Moved | None]:
        """The same without waiting; what is returned waits, and raises."""
        answer = self._batcher.begin(wanted)
        return lambda: _unless_error(answer().result)

    def move_all(self, wanted: Sequence[Move], *, within_s: float) -> list[Moved]:
        """Make several moves at once; those that were not made in time, for whatever reason, are left out."""
        answers = self._batcher.ask_together(wanted, deadline_s=within_s)
        return [answer.result for answer in answers if isinstance(answer.result, Moved)]

    def stop(self) -> None:
        self._batcher.stop(wait_s=5)
        self._disconnect()

    def _write(self, moves: Sequence[Move]) -> Sequence[Moved | VoxqueueError | None]:
        """Statement by statement: each is committed by itself, so that one that is refused takes no other along."""
        answers: dict[int, Moved | VoxqueueError | None] = {}
        for indices in lifecycle.rounds(moves):
            answers.update(zip(indices, self._write_distinct([moves[index] for index in indices]), strict=True))
        return [answers[index] for index in range(len(moves))]

    def _write_distinct(self, moves: Sequence[Move]) -> Sequence[Moved | VoxqueueError | None]:
        try:
            with database_errors():
                return self._write_together(moves)
        except DatabaseUnavailable as error:
            log.warning("%d moves not written: %s", len(moves), error.__cause__)
            return [error for _ in moves]
        except Exception as error:
            if len(moves) == 1:
                log.exception("a move of job %s was refused", moves[0].job_id)
                return [LedgerError(f"What was to be written down was refused: {_words(error)}"[:500])]
            return [answer for one in moves for answer in self._write_distinct([one])]

    def _write_together(self, moves: Sequence[Move]) -> Sequence[Moved | None]:
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            made = lifecycle.move(self._connection, moves)
            self._connection.commit()  # for SQLAlchemy's own books; the database has committed
        except DBAPIError:
            self._disconnect()
            raise
        for moved in made:
            if moved is not None:
                self._announcer.announce(moved.job_id, moved.state)
                metrics.moved(moved)
        if any(moved.owes for moved in made if moved is not None):
            self._owes()
        return made

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DBAPIError):
                connection.invalidate()  # the pool must not hand it out again: its server is gone, or read-only now
                connection.close()


def _unless_error(result: Moved | VoxqueueError | None) -> Moved | None:
    """The result, or the error in one of the two ways that a caller can act upon."""
    if isinstance(result, LedgerError | DatabaseUnavailable):
        raise result
    if isinstance(result, VoxqueueError):  # the batcher's own: too late, or stopping
        raise DatabaseUnavailable(f"The move was not confirmed: {result.detail}") from result
    return result


def _words(error: Exception) -> str:
    """What the database says is wrong, without the statement and its values."""
    diagnostics = getattr(getattr(error, "orig", None), "diag", None)
    return str(getattr(diagnostics, "message_primary", None) or type(error).__name__)
