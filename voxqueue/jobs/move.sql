-- Makes moves, see `lifecycle`. One statement, so that a move costs one round trip and cannot be half made.
--
-- The rows are locked in the order of their ids: two workers that speak of the same jobs cannot deadlock. The ids are given
-- beside the moves because only of an array does the planner know that it is short.
WITH moves AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(moves)s::jsonb) AS m(
        job_id uuid, "to" text, origins jsonb, attempt int, at text, stage text, outcomes jsonb, claims boolean,
        served jsonb, worker text, lease_s float8, due_in_s float8, lost boolean, anew boolean,
        tenant text, error jsonb)
), locked AS MATERIALIZED (
    SELECT id FROM jobs WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR UPDATE
), moved AS (
    UPDATE jobs SET
        state = m."to",
        attempt = jobs.attempt + coalesce(m.claims, false)::int,
        lost_leases = CASE
            WHEN m.anew THEN 0
            -- Who had not begun cannot be what took the worker down.
            WHEN m.lost AND EXISTS (SELECT FROM stage_runs WHERE job_id = jobs.id AND stage_runs.stage = jobs.stage
                AND stage_runs.started_at IS NOT NULL) THEN jobs.lost_leases + 1
            ELSE jobs.lost_leases END,
        stage = coalesce(m.stage, jobs.stage),
        worker = coalesce(m.worker, jobs.worker),
        lease_until = CASE WHEN m."to" = 'running' THEN now() + make_interval(secs => m.lease_s) END,
        due_at = CASE WHEN m."to" = 'queued' THEN now() + make_interval(secs => m.due_in_s) ELSE jobs.due_at END,
        -- A hint belongs to the stage that it was sent for: one that goes on here has none.
        hinted_at = CASE WHEN m."to" = 'queued' AND m.due_in_s = 0 THEN now() WHEN m.claims THEN jobs.hinted_at END,
        started_at = CASE WHEN m."to" = 'running' THEN coalesce(jobs.started_at, now())
                     WHEN NOT coalesce(m.anew, false) THEN jobs.started_at END,
        finished_at = CASE WHEN m."to" IN ('succeeded', 'failed', 'canceled') THEN now() END,
        error = m.error
    FROM moves m JOIN locked ON locked.id = m.job_id
    WHERE jobs.id = m.job_id
        AND jobs.id = ANY(%(ids)s::uuid[])
        AND m.origins ? jobs.state
        AND (m.attempt IS NULL OR jobs.attempt = m.attempt)
        AND (m.at IS NULL OR jobs.stage = m.at)
        AND (m.tenant IS NULL OR jobs.tenant = m.tenant)
        AND (m.served IS NULL OR (m.served ? jobs.stage AND jobs.due_at <= now()))
        AND (m.lost IS NULL OR jobs.lease_until < now())
    RETURNING jobs.*, m.claims, m.anew, m.outcomes
), outcomes AS (
    SELECT moved.id AS job_id, coalesce(o.stage, moved.stage) AS stage, o.state, o.engine, o.model, o.result, o.reason,
        o.run_ms, o.started_ms_ago, now() - make_interval(secs => o.ms_ago / 1000) AS came_about, o.batch_size,
        o.degradations, o.failed_try, moved.lost_leases > 0 AS suspect
    FROM moved CROSS JOIN LATERAL jsonb_to_recordset(moved.outcomes) AS o(
        stage text, state text, engine text, model text, result jsonb, reason text, run_ms float8,
        started_ms_ago float8, ms_ago float8, batch_size int, degradations jsonb, failed_try boolean)
    UNION ALL  -- which stage a claim is for is known only now
    SELECT id, stage, 'running', NULL, NULL, NULL, NULL, NULL, NULL, now(), NULL, NULL, false, lost_leases > 0
    FROM moved WHERE claims
), ended AS (
    UPDATE stage_runs SET
        state = o.state,
        failures = stage_runs.failures + coalesce(o.failed_try, false)::int,
        reason = o.reason,
        engine = coalesce(o.engine, stage_runs.engine),
        model = coalesce(o.model, stage_runs.model),
        result = o.result,
        run_ms = o.run_ms,
        batch_size = o.batch_size,
        degradations = coalesce(o.degradations, '[]'),
        progress = CASE WHEN o.state IN ('pending', 'running') THEN 0 ELSE stage_runs.progress END,
        ready_at = CASE WHEN o.state IN ('pending', 'running') THEN coalesce(stage_runs.ready_at, o.came_about)
                   ELSE stage_runs.ready_at END,
        -- What was told late seems to have happened late; but no stage ran before the one before it had ended.
        started_at = CASE WHEN o.started_ms_ago IS NOT NULL
                          THEN greatest(stage_runs.ready_at, now() - make_interval(secs => o.started_ms_ago / 1000))
                     WHEN o.state = 'running' AND NOT o.suspect THEN now()
                     WHEN o.state IN ('running', 'pending') THEN NULL  -- a suspect says itself when it begins
                     ELSE stage_runs.started_at END,
        finished_at = CASE WHEN o.state IN ('succeeded', 'failed', 'skipped')
                           THEN greatest(stage_runs.ready_at, o.came_about) END
    FROM outcomes o
    WHERE stage_runs.job_id = ANY(%(ids)s::uuid[]) AND stage_runs.job_id = o.job_id AND stage_runs.stage = o.stage
        AND stage_runs.state <> 'succeeded'  -- what is committed stays
), closed AS (  -- what an ended job will not come to any more
    UPDATE stage_runs SET state = 'canceled', finished_at = now()
    FROM moved
    WHERE stage_runs.job_id = ANY(%(ids)s::uuid[]) AND stage_runs.job_id = moved.id
        AND moved.state IN ('failed', 'canceled') AND stage_runs.state IN ('pending', 'running')
        AND NOT EXISTS (SELECT FROM outcomes o WHERE o.job_id = moved.id AND o.stage = stage_runs.stage)
), begun_anew AS (
    UPDATE stage_runs SET state = 'pending', failures = 0, reason = NULL, engine = NULL, model = NULL, run_ms = NULL,
        batch_size = NULL, degradations = '[]', progress = 0, started_at = NULL, finished_at = NULL,
        ready_at = CASE WHEN stage_runs.stage = moved.stage THEN now() END
    FROM moved
    WHERE stage_runs.job_id = ANY(%(ids)s::uuid[]) AND stage_runs.job_id = moved.id
        AND moved.anew AND stage_runs.state <> 'succeeded'
), facts AS (
    SELECT id AS job_id, 'job.started' AS type, stage, 1 AS place FROM moved WHERE claims AND started_at = now()
    UNION ALL SELECT job_id, 'job.stage_completed', stage, 2 FROM outcomes WHERE state = 'succeeded'
    UNION ALL SELECT id, 'job.' || state, stage, 3 FROM moved WHERE state IN ('succeeded', 'failed', 'canceled')
), owed AS (
    SELECT facts.*, receiver.endpoint_id, receiver.url
    FROM facts JOIN moved ON moved.id = facts.job_id CROSS JOIN LATERAL (
        SELECT NULL::uuid AS endpoint_id, moved.webhook_url AS url WHERE moved.webhook_events ? facts.type
        UNION ALL
        SELECT * FROM (  -- locked as its deliveries will: one that is being deleted is left out, or waits for us
            SELECT id, url FROM webhook_endpoints
            WHERE webhook_endpoints.tenant = moved.tenant AND enabled AND events ? facts.type FOR KEY SHARE
        ) AS there
    ) AS receiver
), told AS (  -- what nobody is to be told of is no event
    INSERT INTO events (tenant, job_id, type, data)
    SELECT moved.tenant, moved.id, fact.type,
        jsonb_build_object('job_id', moved.id, 'kind', moved.kind, 'state', moved.state, 'stage', fact.stage,
            'attempt', moved.attempt, 'metadata', moved.metadata)
        || CASE WHEN moved.error IS NULL THEN '{}' ELSE jsonb_build_object('error', moved.error) END
    FROM (SELECT DISTINCT job_id, type, stage, place FROM owed) AS fact JOIN moved ON moved.id = fact.job_id
    ORDER BY moved.id, fact.place
    RETURNING id, job_id, type
), deliveries_made AS (
    INSERT INTO deliveries (event_id, endpoint_id, url)
    SELECT told.id, owed.endpoint_id, owed.url FROM owed JOIN told USING (job_id, type)
)
SELECT moved.id, moved.attempt, moved.state, moved.stage, moved.priority, moved.due_at <= now(), moved.claims,
    moved.kind, extract(epoch FROM now() - moved.created_at)::float8,
    EXISTS (SELECT FROM owed WHERE owed.job_id = moved.id), notes.key, notes.seconds, moved.text, moved.language,
    moved.instructions, moved.voice, moved.audio_format, moved.options, moved.lost_leases, moved.traceparent,
    CASE WHEN moved.claims THEN (
        SELECT jsonb_object_agg(stage, result) FROM stage_runs WHERE job_id = moved.id AND state = 'succeeded') END,
    CASE WHEN moved.claims THEN (
        SELECT failures FROM stage_runs WHERE job_id = moved.id AND stage = moved.stage) END,
    CASE WHEN moved.claims THEN (
        SELECT coalesce(extract(epoch FROM now() - ready_at), 0)::float8
        FROM stage_runs WHERE job_id = moved.id AND stage = moved.stage) END
FROM moved LEFT JOIN notes ON notes.id = moved.note_id AND moved.claims
