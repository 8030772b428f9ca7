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
            'reason', f.reason, 'status', f.status, 'key_number', f.key_number,
            'first_asked_at', extract(epoch FROM f.first_asked_at),
            'age_seconds', extract(epoch FROM now() - f.first_asked_at),
            'disputed', p.disputed_at IS NOT NULL
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

-- Later, after 2^attempt times 5 seconds give or take a quarter, an hour at most.
CREATE OR REPLACE FUNCTION retry_outbox(p_id uuid, p_attempt integer, p_error text) RETURNS void
LANGUAGE sql AS $$
    UPDATE outbox SET
        last_error = p_error, lease_until = '-infinity',
        next_attempt_at = clock_timestamp()
            + least(interval '5 seconds' * 2 ^ least(p_attempt, 16), interval '1 hour') * (0.75 + random() / 2)
    WHERE id = p_id AND attempts = p_attempt AND status = 'pending'
$$;

-- What Stripe said of a refund, together with the end of its outbox row. A refund that succeeded is money gone: it
-- grows the payment's fact and shows on the booking.
CREATE OR REPLACE FUNCTION record_refund(
    p_refund_id uuid, p_stripe_refund_id text, p_status text
) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_refund refunds;
    v_refunded bigint;
    v_captured bigint;
BEGIN
    SELECT p.captured_amount INTO v_captured FROM payment_intents_log p JOIN refunds f ON f.payment_id = p.id
    WHERE f.id = p_refund_id FOR NO KEY UPDATE OF p;
    UPDATE refunds SET status = p_status, stripe_refund_id = coalesce(stripe_refund_id, p_stripe_refund_id)
    WHERE id = p_refund_id RETURNING * INTO v_refund;
    SELECT coalesce(sum(amount), 0) INTO v_refunded
    FROM refunds WHERE payment_id = v_refund.payment_id AND status = 'succeeded';
    UPDATE payment_intents_log SET refunded_amount = greatest(refunded_amount, v_refunded)
    WHERE id = v_refund.payment_id;
    UPDATE bookings SET payment_status = CASE WHEN v_refunded >= v_captured THEN 'refunded' ELSE 'partially_refunded' END
    WHERE payment_id = v_refund.payment_id AND v_refunded > 0 AND payment_status IN ('paid', 'partially_refunded');
    RETURN v_refund.status;
END
$$;

-- Stripe refused the refund under its present key for good: the next try has a key of its own.
CREATE OR REPLACE FUNCTION take_next_refund_key(p_refund_id uuid) RETURNS integer
LANGUAGE sql AS $$
    UPDATE refunds SET key_number = key_number + 1, first_asked_at = now() WHERE id = p_refund_id RETURNING key_number
$$;
