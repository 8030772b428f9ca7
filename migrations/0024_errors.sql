-- Groups of errors that end and come again, and the one issue that each has in the tracker.

ALTER TABLE error_groups
    -- How often it was new: first seen, or seen again after it had been resolved.
    ADD COLUMN openings integer NOT NULL DEFAULT 1,
    ADD COLUMN opened_at timestamptz NOT NULL DEFAULT now(),
    -- How many samples this opening has, until it has all that it may have.
    ADD COLUMN samples integer NOT NULL DEFAULT 0,
    -- The request that was counted last: the same one again, because its COMMIT's answer was lost, counts no more.
    ADD COLUMN last_request_id text,
    -- The opening that an issue was asked for; behind `openings` while one is still to be asked for.
    ADD COLUMN issue_opening integer NOT NULL DEFAULT 0,
    ADD COLUMN issue_number integer,
    ADD COLUMN issue_url text,
    -- The tracker's word, as it was last acted on.
    ADD COLUMN issue_closed_at timestamptz;

UPDATE error_groups SET opened_at = first_seen, samples = least(occurrence_count, 20);
