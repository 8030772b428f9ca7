-- Limits: buckets that fill within a window of the clock, and are empty again at its end.

-- How much of the bucket is taken, whichever connections took it. A connection has one of eight rows, so that those who
-- count one address, an office's or an attacker's, do not stand in line for it.
CREATE OR REPLACE FUNCTION taken_of_window(p_bucket text, p_window_start timestamptz) RETURNS bigint
LANGUAGE sql STABLE
RETURN (
    SELECT coalesce(sum(used), 0) FROM rate_limits
    WHERE bucket = p_bucket AND shard = ANY ('{0,1,2,3,4,5,6,7}'::smallint[]) AND window_start = p_window_start
);

-- Counts a request in this minute's buckets, and raises LIMIT where one of them has more than p_limits allows: its name is
-- the detail, the seconds until it is empty are the hint. It is sent ahead of the act, in the same round trip, and commits
-- by itself: no failure of the act undoes it, no lock of it waits for the act, and what follows an error is not run.
--
-- Counted first and looked at afterwards: of the requests whose counts are in, no more than the limit find it kept, whatever
-- runs at once. Whoever comes when a bucket is over writes nothing.
CREATE OR REPLACE PROCEDURE count_request(p_buckets text[], p_limits integer[])
LANGUAGE plpgsql AS $$
DECLARE
    v_window constant timestamptz := date_bin('1 minute', clock_timestamp(), 'epoch');
    v_over text;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);  -- a crash may forget a second of it
    INSERT INTO rate_limits AS r (bucket, shard, window_start, ends_at, used)
    SELECT bucket, pg_backend_pid() % 8, v_window, v_window + interval '1 minute', 1 FROM unnest(p_buckets) AS bucket
    WHERE NOT EXISTS (
        SELECT FROM unnest(p_buckets, p_limits) AS w (bucket, most) WHERE taken_of_window(w.bucket, v_window) > w.most)
    ORDER BY bucket
    ON CONFLICT (bucket, shard, window_start) DO UPDATE SET used = r.used + 1;
    COMMIT;
    SELECT bucket INTO v_over FROM unnest(p_buckets, p_limits) AS w (bucket, most)
    WHERE taken_of_window(bucket, v_window) > most LIMIT 1;
    IF v_over IS NOT NULL THEN
        RAISE EXCEPTION 'too many requests' USING
            ERRCODE = 'LIMIT', DETAIL = v_over,
            HINT = extract(epoch FROM v_window + interval '1 minute' - clock_timestamp());
    END IF;
END
$$;
-- Whether the bucket has something left of this hour, and takes it in the transaction of what it is taken for: exact, and
-- undone with it.
CREATE OR REPLACE FUNCTION take_of_hour(p_bucket text, p_limit integer) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_hour constant timestamptz := date_bin('1 hour', now(), 'epoch');
BEGIN
    -- Looked at first: whoever comes when nothing is left locks nothing, and waits for nobody.
    IF taken_of_window(p_bucket, v_hour) >= p_limit THEN
        RETURN false;
    END IF;
    INSERT INTO rate_limits AS r (bucket, window_start, ends_at, used) VALUES (p_bucket, v_hour, v_hour + interval '1 hour', 1)
    ON CONFLICT (bucket, shard, window_start) DO UPDATE SET used = r.used + 1 WHERE r.used < p_limit;
    RETURN FOUND;
END
$$;
