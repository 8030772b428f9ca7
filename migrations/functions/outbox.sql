-- Outward effects: claimed by a lease that outlives a batch, tried again with growing pauses, and given up in the open.

-- Up to p_limit rows that are due, leased. attempts is the fencing token of what follows.
CREATE OR REPLACE FUNCTION claim_outbox(p_limit integer, p_lease interval) RETURNS SETOF jsonb
LANGUAGE sql AS $$
    WITH due AS (
        SELECT id FROM outbox
        WHERE status = 'pending' AND next_attempt_at <= now() AND lease_until <= now()
        ORDER BY next_attempt_at LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE outbox o SET attempts = o.attempts + 1, lease_until = now() + p_lease
        FROM due WHERE o.id = due.id
        RETURNING o.*
    ), asked AS (
        UPDATE refunds f SET first_asked_at = coalesce(f.first_asked_at, now())
        FROM claimed WHERE f.id = claimed.refund_id
        RETURNING f.*
    )
    SELECT jsonb_build_object(
        'id', c.id, 'kind', c.kind, 'attempt', c.attempts, 'payload', c.payload, 'request_id', c.request_id,
        'created_at', rfc3339(c.created_at),
        'refund', CASE WHEN f.id IS NOT NULL THEN jsonb_build_object(
            'id', f.id, 'payment_id', f.payment_id, 'payment_intent_id', p.payment_intent_id, 'amount', f.amount,
            'reason', f.reason, 'key_number', f.key_number, 'request_id', f.request_id,
            'age_seconds', extract(epoch FROM now() - f.first_asked_at)
        ) END
    )
    FROM claimed c
    LEFT JOIN asked f ON f.id = c.refund_id
    LEFT JOIN payment_intents_log p ON p.id = f.payment_id
$$;

-- False: the lease was lost, somebody else goes on with the row.
CREATE OR REPLACE FUNCTION settle_outbox(p_id uuid, p_attempt integer, p_status text, p_error text) RETURNS boolean
LANGUAGE sql AS $$
    WITH settled AS (
        UPDATE outbox SET
            status = p_status, last_error = p_error, lease_until = '-infinity',
            delivered_at = CASE WHEN p_status = 'delivered' THEN clock_timestamp() END
        WHERE id = p_id AND attempts = p_attempt AND status = 'pending'
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM settled)
$$;

-- After 2^attempt times 5 seconds give or take a quarter, an hour at most.
CREATE OR REPLACE FUNCTION outbox_retry_at(p_attempt integer) RETURNS timestamptz
LANGUAGE sql VOLATILE AS $$
    SELECT clock_timestamp()
        + least(interval '5 seconds' * 2 ^ least(p_attempt, 16), interval '1 hour') * (0.75 + random() / 2)
$$;

-- A refund's row in the outbox. One that has been delivered was made and has failed: it is sent again, later each time.
CREATE OR REPLACE FUNCTION ask_for_refund(p_refund_id uuid) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO outbox AS o (kind, dedupe_key, payload, refund_id, request_id)
    VALUES ('refund', 'refund:' || p_refund_id, jsonb_build_object('refund_id', p_refund_id), p_refund_id,
            nullif(current_setting('holdfast.context', true), '')::jsonb ->> 'request_id')
    ON CONFLICT (dedupe_key) DO UPDATE SET
        status = 'pending', delivered_at = NULL, lease_until = '-infinity',
        next_attempt_at = CASE WHEN o.status = 'delivered' THEN outbox_retry_at(o.attempts) ELSE now() END
    WHERE o.status <> 'pending'
$$;

-- Later: after p_wait where the receiver has said how long, else after a pause that grows.
CREATE OR REPLACE FUNCTION retry_outbox(p_id uuid, p_attempt integer, p_error text, p_wait interval) RETURNS void
LANGUAGE sql AS $$
    UPDATE outbox SET
        last_error = p_error, lease_until = '-infinity',
        next_attempt_at = coalesce(clock_timestamp() + p_wait, outbox_retry_at(p_attempt))
    WHERE id = p_id AND attempts = p_attempt AND status = 'pending'
$$;

-- Stripe refused the refund under its present key for good: the next try has a key of its own. Whoever has lost the
-- row's lease takes none.
CREATE OR REPLACE FUNCTION take_next_refund_key(p_outbox_id uuid, p_attempt integer) RETURNS void
LANGUAGE sql AS $$
    UPDATE refunds f SET key_number = f.key_number + 1, first_asked_at = NULL
    FROM outbox o
    WHERE o.id = p_outbox_id AND o.attempts = p_attempt AND o.status = 'pending'
      AND f.id = o.refund_id AND f.stripe_refund_id IS NULL
$$;

-- A refund that is given up, together with its row: a person has to send it. False: the lease was lost.
CREATE OR REPLACE FUNCTION bury_refund(p_outbox_id uuid, p_attempt integer, p_error text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_refund uuid;
BEGIN
    PERFORM 1 FROM payment_intents_log WHERE id = (
        SELECT f.payment_id FROM refunds f JOIN outbox o ON o.refund_id = f.id WHERE o.id = p_outbox_id
    ) FOR NO KEY UPDATE;
    IF NOT settle_outbox(p_outbox_id, p_attempt, 'dead', p_error) THEN
        RETURN false;
    END IF;
    UPDATE refunds SET status = 'failed'
    WHERE id = (SELECT refund_id FROM outbox WHERE id = p_outbox_id) AND stripe_refund_id IS NULL;
    RETURN true;
END
$$;
