-- What operators look at: errors by fingerprint, buckets of rate limits, the history of scheduled runs.

-- The count is exact whatever the flood; samples are capped a group.
CREATE TABLE error_groups (
    fingerprint text PRIMARY KEY,
    severity text NOT NULL,
    source text NOT NULL,
    title text NOT NULL,
    occurrence_count bigint NOT NULL DEFAULT 1,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen timestamptz NOT NULL DEFAULT now(),
    status text NOT NULL DEFAULT 'open',
    CONSTRAINT error_groups_status_is_known CHECK (status IN ('open', 'resolved', 'muted'))
) WITH (fillfactor = 70);

CREATE TABLE error_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fingerprint text NOT NULL REFERENCES error_groups,
    severity text NOT NULL,
    function_name text,
    error_message text NOT NULL,
    stack_trace text,
    context jsonb NOT NULL DEFAULT '{}',
    release text,
    url text,
    request_id text,
    "timestamp" timestamptz NOT NULL DEFAULT now(),
    resolved boolean NOT NULL DEFAULT false
);
CREATE INDEX error_logs_of_a_group ON error_logs (fingerprint, id);

CREATE TABLE rate_limits (
    bucket text NOT NULL,
    -- Several rows a bucket, so that one address does not queue behind itself.
    shard smallint NOT NULL DEFAULT 0,
    window_start timestamptz NOT NULL,
    used integer NOT NULL DEFAULT 0,
    PRIMARY KEY (bucket, shard, window_start)
);

CREATE TABLE job_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job text NOT NULL,
    request_id text,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    result jsonb NOT NULL
);
CREATE INDEX job_runs_newest_first ON job_runs (job, started_at DESC);

GRANT SELECT, INSERT, UPDATE ON error_groups, error_logs, rate_limits TO app;
GRANT SELECT, INSERT, UPDATE ON error_groups, error_logs TO error_writer;
GRANT SELECT, INSERT ON job_runs TO app;
GRANT DELETE ON rate_limits TO app;
GRANT SELECT ON schema_migrations TO app;
