-- A bucket is of an hour or of a minute, and is forgotten when that is over.

ALTER TABLE rate_limits
    ADD COLUMN ends_at timestamptz NOT NULL DEFAULT now() + interval '2 hours',
    -- Counted again and again within a page (HOT).
    SET (fillfactor = 70);
