-- What becomes of a payment's money once it is in. The payment is locked first (lock_payment): whoever writes a refund
-- or a dispute has it, so what is read here stays true until the commit. What has to follow is decided in Python
-- (domain/ledger.py), from the facts alone.

CREATE OR REPLACE FUNCTION payment_ledger(p_payment_intent_id text) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'payment_id', p.id, 'currency', p.currency, 'captured_amount', p.captured_amount,
        'booking_status', (SELECT b.status FROM bookings b WHERE b.payment_id = p.id),
        'refunds', (
            SELECT coalesce(jsonb_agg(to_jsonb(f) ORDER BY f.created_at, f.id), '[]')
            FROM refunds f WHERE f.payment_id = p.id),
        'disputes', (
            SELECT coalesce(jsonb_agg(to_jsonb(d) ORDER BY d.created_at, d.id), '[]')
            FROM disputes d WHERE d.payment_id = p.id)
    )
    FROM payment_intents_log p WHERE p.payment_intent_id = p_payment_intent_id
$$;

CREATE OR REPLACE FUNCTION save_dispute(
    p_id uuid, p_stripe_dispute_id text, p_payment_id uuid, p_status text, p_status_at timestamptz, p_standing text,
    p_amount bigint, p_currency text, p_withdrawn bigint, p_reinstated bigint
) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO disputes (
        id, stripe_dispute_id, payment_id, status, status_at, standing, amount, currency, withdrawn_amount,
        reinstated_amount
    ) VALUES (
        p_id, p_stripe_dispute_id, p_payment_id, p_status, p_status_at, p_standing, p_amount, p_currency, p_withdrawn,
        p_reinstated
    )
    ON CONFLICT (id) DO UPDATE SET
        status = excluded.status, status_at = excluded.status_at, standing = excluded.standing,
        amount = excluded.amount, withdrawn_amount = excluded.withdrawn_amount,
        reinstated_amount = excluded.reinstated_amount
$$;

-- The refund's row and its outbox row: asked for while it waits for Stripe, and not once there is nothing to ask.
CREATE OR REPLACE FUNCTION save_refund(
    p_id uuid, p_payment_id uuid, p_amount bigint, p_wanted bigint, p_reason text, p_status text,
    p_stripe_refund_id text, p_failed text[], p_key_number integer, p_superseded_by uuid
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    -- The outbox row before the refund: the order in which claim_outbox takes them.
    PERFORM 1 FROM outbox WHERE dedupe_key = 'refund:' || p_id FOR NO KEY UPDATE;
    INSERT INTO refunds AS f (
        id, payment_id, amount, wanted_amount, reason, status, stripe_refund_id, failed_stripe_refund_ids, key_number,
        superseded_by
    ) VALUES (
        p_id, p_payment_id, p_amount, p_wanted, p_reason, p_status, p_stripe_refund_id, p_failed, p_key_number,
        p_superseded_by
    )
    ON CONFLICT (id) DO UPDATE SET
        amount = excluded.amount, wanted_amount = excluded.wanted_amount, status = excluded.status,
        stripe_refund_id = excluded.stripe_refund_id, failed_stripe_refund_ids = excluded.failed_stripe_refund_ids,
        key_number = excluded.key_number, superseded_by = excluded.superseded_by,
        first_asked_at = CASE WHEN f.key_number = excluded.key_number THEN f.first_asked_at END;
    IF p_status = 'pending' AND p_stripe_refund_id IS NULL THEN
        PERFORM ask_for_refund(p_id);
    ELSE
        UPDATE outbox SET
            status = CASE WHEN p_status = 'canceled' THEN 'canceled' ELSE 'delivered' END,
            delivered_at = CASE WHEN p_status <> 'canceled' THEN clock_timestamp() END, lease_until = '-infinity'
        WHERE dedupe_key = 'refund:' || p_id AND status <> 'delivered';
    END IF;
    IF p_status = 'succeeded' THEN
        PERFORM notify_refunded(p_id);
    END IF;
END
$$;

-- Money that has gone back is told of, once a refund; could-not-be-seated has said that it would.
CREATE OR REPLACE FUNCTION notify_refunded(p_refund_id uuid) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO outbox (kind, dedupe_key, payload, request_id)
    SELECT 'notification', 'refunded:' || f.id, jsonb_strip_nulls(jsonb_build_object(
        'type', 'refunded', 'reservation_id', r.id, 'booking_id', b.id, 'payment_id', f.payment_id, 'refund_id', f.id,
        'amount', f.amount, 'currency', p.currency, 'reason', f.reason, 'customer', jsonb_build_object(
            'email', c.email, 'name', c.name)
    )), coalesce(f.request_id, nullif(current_setting('holdfast.context', true), '')::jsonb ->> 'request_id')
    FROM refunds f
    JOIN payment_intents_log p ON p.id = f.payment_id
    JOIN ticket_reservations r ON r.id = p.reservation_id
    JOIN customers c ON c.id = r.customer_id
    LEFT JOIN bookings b ON b.payment_id = p.id
    WHERE f.id = p_refund_id
    ON CONFLICT (dedupe_key) DO NOTHING
$$;

-- The payment's facts, and its booking as the refunds and disputes want it; the seats of a booking that is revoked go
-- back.
CREATE OR REPLACE FUNCTION settle_ledger(p_payment_id uuid, p_booking_status text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_refunded bigint;
    v_payment payment_intents_log;
    v_status text;
    v_before bookings;
BEGIN
    SELECT coalesce(sum(amount), 0) INTO v_refunded FROM refunds WHERE payment_id = p_payment_id AND status = 'succeeded';
    UPDATE payment_intents_log p SET
        refunded_amount = greatest(refunded_amount, v_refunded),
        disputed_at = coalesce(disputed_at, (
            SELECT min(d.created_at) FROM disputes d WHERE d.payment_id = p.id AND d.standing <> 'inquiry'))
    WHERE id = p_payment_id RETURNING * INTO v_payment;
    v_status := CASE
        WHEN EXISTS (SELECT FROM disputes WHERE payment_id = p_payment_id AND standing IN ('open', 'lost'))
            THEN 'disputed'
        WHEN v_refunded >= v_payment.captured_amount THEN 'refunded'
        WHEN v_refunded > 0 THEN 'partially_refunded'
        ELSE 'paid'
    END;
    SELECT * INTO v_before FROM bookings
    WHERE payment_id = p_payment_id AND (status, payment_status) IS DISTINCT FROM (p_booking_status, v_status)
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF p_booking_status = 'revoked' AND v_before.status <> 'revoked' THEN
        PERFORM give_back_seats(v_before.id);
    END IF;
    UPDATE bookings SET status = p_booking_status, payment_status = v_status WHERE id = v_before.id;
END
$$;

-- The seats of a booking are free again.
CREATE OR REPLACE FUNCTION give_back_seats(p_booking_id uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM slots WHERE id IN (SELECT slot_id FROM booking_items WHERE booking_id = p_booking_id)
    ORDER BY id FOR NO KEY UPDATE;
    UPDATE slots s SET sold_units = s.sold_units - i.units, sold_bookings = s.sold_bookings - i.bookings
    FROM (
        SELECT slot_id, sum(units)::integer AS units, count(*)::integer AS bookings
        FROM booking_items WHERE booking_id = p_booking_id GROUP BY slot_id
    ) i
    WHERE s.id = i.slot_id;
END
$$;

-- What of a payment can still be refunded. The payment is locked.
CREATE OR REPLACE FUNCTION refundable_amount(p_payment_id uuid) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT p.captured_amount - coalesce(sum(f.amount), 0)::bigint
    FROM payment_intents_log p
    LEFT JOIN refunds f ON f.payment_id = p.id AND f.status IN ('pending', 'succeeded')
    WHERE p.id = p_payment_id GROUP BY p.id
$$;

-- Reserves an amount that is to go back and asks for it. The payment is locked. Answers the problem's slug where it
-- cannot be: disputed, refund-exceeds-paid.
CREATE OR REPLACE FUNCTION request_refund(
    p_payment_id uuid, p_amount bigint, p_reason text, p_refund_id uuid DEFAULT gen_random_uuid()
) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM disputes WHERE payment_id = p_payment_id AND standing IN ('open', 'lost')) THEN
        RETURN 'disputed';
    END IF;
    IF p_amount NOT BETWEEN 1 AND refundable_amount(p_payment_id) THEN
        RETURN 'refund-exceeds-paid';
    END IF;
    PERFORM save_refund(p_refund_id, p_payment_id, p_amount, NULL, p_reason, 'pending', NULL, '{}', 1, NULL);
    RETURN 'requested';
END
$$;
