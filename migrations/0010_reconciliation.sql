-- How far reconciliation has come, and when each open payment is asked about again.

-- Stripe lists its events newest first, so a list is read from its end backwards and is worth nothing until it has been
-- read to its beginning: only then does reached_at move.
CREATE TABLE job_cursors (
    job text PRIMARY KEY,
    -- All that was created before this moment has been seen.
    reached_at timestamptz NOT NULL,
    -- The list that is being read was begun at this moment; last_event_id is the last one of it that was done.
    began_at timestamptz,
    last_event_id text,
    CONSTRAINT job_cursors_point_into_a_list CHECK (last_event_id IS NULL OR began_at IS NOT NULL)
);

-- Not next_ask_at: that is the pause of whoever is closing the payment.
ALTER TABLE payment_intents_log ADD COLUMN next_reconcile_at timestamptz NOT NULL DEFAULT now();

GRANT SELECT, INSERT, UPDATE ON job_cursors TO app;

-- It is made anew, to answer what became of the event. Whoever misses it for that moment answers 5xx, and Stripe comes again.
-- squawk-ignore ban-drop-function
DROP FUNCTION IF EXISTS fail_webhook_event(text, text, jsonb, text, text, text);
