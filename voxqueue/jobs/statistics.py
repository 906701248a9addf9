"""How the last hour and the last day went, for operators: counts, of all tenants together.

Each query reads an index over a bounded time, or a bounded number of jobs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from voxqueue.stages import Stage

SAMPLE = 1_000
"""How many of the newest ended jobs tell of waits, runs and batches."""

MOST_REASONS = 20


@dataclass(frozen=True, slots=True)
class Minute:
    """How many jobs ended within the minute that begins `at`."""

    at: datetime
    succeeded: int
    failed: int
    canceled: int


@dataclass(frozen=True, slots=True)
class StagePace:
    """How one stage went lately. Milliseconds; `batches` has how many runs shared a model call of so many pieces."""

    stage: Stage
    runs: int
    mean_batch: float
    batches: dict[int, int]
    wait_p50_ms: float
    wait_p95_ms: float
    run_p50_ms: float
    run_p95_ms: float


@dataclass(frozen=True, slots=True)
class FailureReason:
    """Jobs that failed at one stage for one reason; `detail`, `job_id` and `tenant` are of the last of them."""

    stage: Stage
    type: str
    title: str
    count: int
    last_at: datetime
    detail: str
    job_id: UUID
    tenant: str


_MINUTES = text("""
    WITH ended AS (
        SELECT date_trunc('minute', finished_at) AS at, count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
            count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'canceled') AS canceled
        FROM jobs WHERE finished_at >= date_trunc('minute', now()) - interval '59 minutes' GROUP BY 1
    )
    SELECT at, coalesce(succeeded, 0), coalesce(failed, 0), coalesce(canceled, 0)
    FROM generate_series(date_trunc('minute', now()) - interval '59 minutes', date_trunc('minute', now()),
        interval '1 minute') AS minutes(at) LEFT JOIN ended USING (at)
    ORDER BY at
""")


def throughput(session: Session) -> Sequence[Minute]:
    """The last sixty minutes of the clock, the present one included, whether a job ended in them or not."""
    return [Minute(*row) for row in session.execute(_MINUTES)]


_PACES = text("""
    WITH lately AS MATERIALIZED (
        SELECT id FROM jobs WHERE finished_at > now() - interval '1 hour' ORDER BY finished_at DESC LIMIT :sample
    ), runs AS (
        SELECT stage, batch_size, run_ms,
            1000 * greatest(0, extract(epoch FROM started_at - ready_at)) AS wait_ms
        FROM lately JOIN stage_runs ON stage_runs.job_id = lately.id
        WHERE stage_runs.state = 'succeeded' AND batch_size IS NOT NULL AND run_ms IS NOT NULL
            AND started_at IS NOT NULL AND ready_at IS NOT NULL
    ), sizes AS (
        SELECT stage, jsonb_object_agg(batch_size, times) AS batches
        FROM (SELECT stage, batch_size, count(*) AS times FROM runs GROUP BY stage, batch_size) AS counted
        GROUP BY stage
    )
    SELECT stage, count(*), avg(batch_size)::float8, min(batches::text)::jsonb,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY wait_ms), percentile_cont(0.95) WITHIN GROUP (ORDER BY wait_ms),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY run_ms), percentile_cont(0.95) WITHIN GROUP (ORDER BY run_ms)
    FROM runs JOIN sizes USING (stage) GROUP BY stage
""")


def paces(session: Session) -> Sequence[StagePace]:
    """How the stages went of the newest `SAMPLE` jobs that ended within the last hour; a stage that did not is left
    out."""
    rows = session.execute(_PACES, {"sample": SAMPLE})
    return [
        StagePace(Stage(stage), runs, mean, {int(size): times for size, times in batches.items()}, *times)
        for stage, runs, mean, batches, *times in rows
    ]


_REASONS = text("""
    SELECT stage, coalesce(error ->> 'type', ''), coalesce(min(error ->> 'title'), ''), count(*), max(finished_at),
        coalesce((array_agg(error ->> 'detail' ORDER BY finished_at DESC))[1], ''),
        (array_agg(id ORDER BY finished_at DESC))[1], (array_agg(tenant ORDER BY finished_at DESC))[1]
    FROM jobs WHERE state = 'failed' AND finished_at > now() - interval '1 day'
    GROUP BY stage, error ->> 'type' ORDER BY count(*) DESC, max(finished_at) DESC LIMIT :most
""")


def failure_reasons(session: Session) -> Sequence[FailureReason]:
    """Why jobs have failed within the last day, the most frequent reason first, at most `MOST_REASONS`."""
    rows = session.execute(_REASONS, {"most": MOST_REASONS})
    return [FailureReason(Stage(stage), *rest) for stage, *rest in rows]
