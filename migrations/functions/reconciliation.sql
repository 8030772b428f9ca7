-- What Stripe could not tell us, and what we could not do with it: looked for again, by whoever runs next.

-- The list of Stripe's events that is to be read: {"since": epoch seconds, "began_at", "last_event_id"}. A list that
-- an earlier run could not finish is gone on with. The first of all begins with the oldest payment.
-- p_overlap: events may be listed late, and Stripe's clock is not ours. p_kept: Stripe keeps events that long.
CREATE OR REPLACE FUNCTION begin_event_list(p_overlap interval, p_kept interval) RETURNS jsonb
LANGUAGE sql AS $$
    INSERT INTO job_cursors AS c (job, reached_at, began_at)
    VALUES ('stripe-events', coalesce((SELECT min(created_at) FROM payment_intents_log), now()), now())
    ON CONFLICT (job) DO UPDATE SET began_at = coalesce(c.began_at, now())
    RETURNING jsonb_build_object(
        'since', floor(extract(epoch FROM greatest(reached_at - p_overlap, now() - p_kept))),
        'began_at', began_at, 'last_event_id', last_event_id)
$$;

-- A page of the list is done; p_last_event_id NULL: it was the last one. A run whose list another has finished
-- meanwhile changes nothing.
CREATE OR REPLACE FUNCTION advance_event_list(p_began_at timestamptz, p_last_event_id text) RETURNS void
LANGUAGE sql AS $$
    UPDATE job_cursors SET
        reached_at = CASE WHEN p_last_event_id IS NULL THEN began_at ELSE reached_at END,
        began_at = CASE WHEN p_last_event_id IS NULL THEN NULL ELSE began_at END,
        last_event_id = p_last_event_id
    WHERE job = 'stripe-events' AND began_at = p_began_at
$$;

-- Up to p_limit failed and parked events that are due. They are due again after p_lease, unless what becomes of them
-- says otherwise.
CREATE OR REPLACE FUNCTION claim_due_events(p_limit integer, p_lease interval) RETURNS SETOF jsonb
LANGUAGE sql AS $$
    UPDATE webhook_events_log e SET next_attempt_at = now() + p_lease
    FROM (
        SELECT event_id FROM webhook_events_log
        WHERE status IN ('failed', 'parked') AND coalesce(next_attempt_at, received_at) <= now()
        ORDER BY coalesce(next_attempt_at, received_at) LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    ) due
    WHERE e.event_id = due.event_id
    RETURNING jsonb_build_object('status', e.status, 'event', e.payload)
$$;

-- Events of others who share the account, about things that never turned out to be ours.
CREATE OR REPLACE FUNCTION ignore_foreign_events(p_reason text, p_after interval) RETURNS integer
LANGUAGE sql AS $$
    WITH ignored AS (
        UPDATE webhook_events_log
        SET status = 'ignored', payload = '{}', next_attempt_at = NULL, processed_at = clock_timestamp()
        WHERE status = 'parked' AND reason = p_reason AND received_at <= now() - p_after
        RETURNING 1
    )
    SELECT count(*)::integer FROM ignored
$$;

-- When a payment is asked about again: after as long as it is old, so that a new one is asked about soon and an old
-- one not for ever.
CREATE OR REPLACE FUNCTION next_reconcile_at(p_created_at timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE
RETURN now() + least(greatest(now() - p_created_at, interval '1 minute'), interval '6 hours');

-- Up to p_limit payments that nobody is working on, of which Stripe has said neither that they are paid nor that they
-- never will be.
CREATE OR REPLACE FUNCTION claim_payments_to_ask(p_limit integer) RETURNS SETOF jsonb
LANGUAGE sql AS $$
    WITH due AS (
        SELECT id FROM payment_intents_log
        WHERE canceled_at IS NULL AND captured_amount = 0 AND next_reconcile_at <= now() AND lease_until <= now()
        ORDER BY next_reconcile_at LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE payment_intents_log p SET next_reconcile_at = next_reconcile_at(p.created_at)
        FROM due WHERE p.id = due.id RETURNING p.id
    )
    SELECT payment_view(id) FROM claimed
$$;

-- Up to p_limit second intents (see lock_payment) that could still be paid, as far as we know.
CREATE OR REPLACE FUNCTION claim_stray_payments(p_limit integer) RETURNS SETOF jsonb
LANGUAGE sql AS $$
    WITH due AS (
        SELECT id FROM payment_intents_log
        WHERE idempotency_key LIKE 'found:%' AND captured_amount = 0 AND status <> 'canceled'
          AND next_reconcile_at <= now()
        ORDER BY next_reconcile_at LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE payment_intents_log p SET next_reconcile_at = next_reconcile_at(p.created_at)
        FROM due WHERE p.id = due.id RETURNING p.id
    )
    SELECT payment_view(id) FROM claimed
$$;

-- Stripe has closed a second intent: nobody need ask again.
CREATE OR REPLACE FUNCTION close_stray_payment(p_payment_id uuid) RETURNS void
LANGUAGE sql AS $$
    UPDATE payment_intents_log SET status = 'canceled'
    WHERE id = p_payment_id AND idempotency_key LIKE 'found:%' AND captured_amount = 0
$$;

-- Makes an event that has not come to a good end due again, for whoever asks, and writes down who did. Answers its
-- status before and its payload; NULL: there is no such event.
CREATE OR REPLACE FUNCTION reopen_webhook_event(p_event_id text) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_event webhook_events_log;
BEGIN
    SELECT * INTO v_event FROM webhook_events_log WHERE event_id = p_event_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF v_event.status IN ('parked', 'failed', 'dead', 'quarantined') THEN
        UPDATE webhook_events_log SET status = 'failed', next_attempt_at = now() WHERE event_id = p_event_id;
        PERFORM write_audit(
            'webhook_events_log', NULL, NULL, 'replay',
            jsonb_build_object('event_id', v_event.event_id, 'event_type', v_event.event_type,
                'status', v_event.status, 'reason', v_event.reason, 'attempts', v_event.attempts),
            NULL);
    END IF;
    RETURN jsonb_build_object('status', v_event.status, 'event', v_event.payload);
END
$$;
