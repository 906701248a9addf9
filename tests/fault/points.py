"""Named points in Postgres: triggers that make a session stop where it writes, and a history of every state.

A statement that reaches a closed point waits for an advisory lock which the test holds. Its process can then be killed,
and the test decides what becomes of the statement: `void` ends the session before anything is written, `made` lets it
be committed although nobody is there any more to hear so.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

_SPACE = 30319  # the first half of our advisory locks, also below; those of the product have one number only
_PATIENCE_S = 60.0

POINTS = ("accept", "claim", "stt", "llm", "tts", "end", "lost lease", "forget", "delivered")
"""Where a session can be made to stop.

`accept`: a submission commits. `claim`: a worker takes a job. `stt`, `llm`, `tts`: the stage's result is written.
`end`: the job becomes terminal. `lost lease`: a lease is returned. `forget`: a doomed blob's row is removed.
`delivered`: what came of an attempt to tell a receiver is written.
"""

_SCHEMA = """
CREATE SCHEMA fault;
CREATE TABLE fault.closed (point text PRIMARY KEY, number int);
CREATE TABLE fault.history (
    position bigint GENERATED ALWAYS AS IDENTITY, job_id uuid, stage text, before text, after text, attempt int,
    lost boolean, at timestamptz DEFAULT clock_timestamp());

CREATE FUNCTION fault.pass(wanted text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE number int;
BEGIN
    SELECT closed.number INTO number FROM fault.closed WHERE point = wanted;
    IF FOUND THEN PERFORM pg_advisory_xact_lock(30319, number); END IF;
END $$;

CREATE FUNCTION fault.job_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'running' AND OLD.state = 'queued' THEN PERFORM fault.pass('claim'); END IF;
    IF NEW.lost_leases > OLD.lost_leases THEN PERFORM fault.pass('lost lease'); END IF;
    IF NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL THEN PERFORM fault.pass('end'); END IF;
    INSERT INTO fault.history (job_id, before, after, attempt, lost)
    VALUES (NEW.id, OLD.state, NEW.state, NEW.attempt, NEW.lost_leases > OLD.lost_leases);
    RETURN NEW;
END $$;
CREATE TRIGGER fault_moves BEFORE UPDATE OF state ON jobs FOR EACH ROW EXECUTE FUNCTION fault.job_moves();

CREATE FUNCTION fault.run_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'succeeded' AND OLD.state <> 'succeeded' THEN PERFORM fault.pass(NEW.stage); END IF;
    IF OLD.state = 'succeeded' OR NEW.state = 'succeeded' THEN
        INSERT INTO fault.history (job_id, stage, before, after) VALUES (NEW.job_id, NEW.stage, OLD.state, NEW.state);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fault_moves BEFORE UPDATE ON stage_runs FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.result IS DISTINCT FROM NEW.result)
    EXECUTE FUNCTION fault.run_moves();

CREATE FUNCTION fault.accepts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM fault.pass('accept'); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER fault_accepts AFTER INSERT ON jobs DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION fault.accepts();

CREATE FUNCTION fault.forgets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM fault.pass('forget'); RETURN OLD; END $$;
CREATE TRIGGER fault_forgets BEFORE DELETE ON doomed_blobs FOR EACH ROW EXECUTE FUNCTION fault.forgets();

CREATE FUNCTION fault.delivers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM fault.pass('delivered'); RETURN NEW; END $$;
CREATE TRIGGER fault_delivers BEFORE INSERT ON delivery_attempts FOR EACH ROW EXECUTE FUNCTION fault.delivers();
"""


class Points:
    """The points of one database, reached directly and not through a proxy.

    Args:
        address: As libpq takes it.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        with self.connect() as connection:
            connection.execute(_SCHEMA.encode())

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of one's own, once Postgres answers."""
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return psycopg.connect(self._address, autocommit=True)
            except psycopg.OperationalError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)

    @contextmanager
    def closed(self, point: str) -> Iterator["Point"]:
        """Stop whoever comes to the point, until the block ends or somebody was let through or turned back."""
        number = POINTS.index(point)
        keeper = self.connect()
        keeper.execute("SELECT pg_advisory_lock(%s, %s)", (_SPACE, number))
        keeper.execute("INSERT INTO fault.closed VALUES (%s, %s)", (point, number))
        try:
            yield Point(self, keeper, point)
        finally:
            keeper.close()  # which opens the gate
            with self.connect() as connection:
                connection.execute("DELETE FROM fault.closed WHERE point = %s", (point,))


class Point:
    """A point that is closed."""

    def __init__(self, points: Points, keeper: psycopg.Connection[Any], name: str) -> None:
        self._points, self._keeper, self._name = points, keeper, name
        self._session = 0

    def wait(self) -> int:
        """Return the pid of the process that stands at the point, once there is one."""
        give_up = time.monotonic() + _PATIENCE_S
        while time.monotonic() < give_up:
            row = self._keeper.execute(
                "SELECT pid, application_name FROM pg_locks JOIN pg_stat_activity USING (pid) "
                "WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND NOT granted",
                (_SPACE, POINTS.index(self._name)),
            ).fetchone()
            if row:
                self._session = row[0]
                return int(row[1])
            time.sleep(0.02)
        raise AssertionError(f"nobody came to {self._name!r} within {_PATIENCE_S:g} s")

    def make(self) -> None:
        """Let the statement that stands here be carried out, and committed."""
        self._open()

    def void(self) -> None:
        """End the session that stands here: its statement never was."""
        self._keeper.execute("SELECT pg_terminate_backend(%s, 5000)", (self._session,))
        self._open()

    def _open(self) -> None:
        self._keeper.execute("DELETE FROM fault.closed WHERE point = %s", (self._name,))
        self._keeper.execute("SELECT pg_advisory_unlock_all()")
