-- Booking a hold without a payment at Stripe, and what a booking looks like to those who may see it.

-- A booking as all answers show it. `json` and not `jsonb`: the order of the fields is part of a byte-equal replay.
CREATE OR REPLACE FUNCTION booking_answer(p_booking_id uuid) RETURNS json
LANGUAGE sql STABLE AS $$
    SELECT json_strip_nulls(json_build_object(
        'id', b.id,
        'reservation_id', b.reservation_id,
        'status', b.status,
        'payment_method', b.payment_method,
        'payment_status', b.payment_status,
        'amount', b.amount,
        'currency', b.currency,
        'credits', b.credits,
        'version', b.version,
        'created_at', rfc3339(b.created_at),
        'cancelled_at', rfc3339(b.cancelled_at),
        'items', (
            SELECT json_agg(json_build_object(
                'id', i.id, 'slot_id', i.slot_id, 'starts_at', rfc3339(s.starts_at), 'ends_at', rfc3339(s.ends_at),
                'units', i.units, 'unit_amount', i.unit_amount,
                'add_ons', (
                    SELECT coalesce(json_agg(json_build_object(
                        'id', a.add_on_id, 'quantity', a.quantity, 'unit_amount', a.unit_amount
                    ) ORDER BY a.add_on_id), '[]')
                    FROM booking_add_ons a WHERE a.item_id = i.id
                )
            ) ORDER BY s.starts_at, i.id)
            FROM booking_items i JOIN slots s ON s.id = i.slot_id WHERE i.booking_id = b.id
        )
    ))
    FROM bookings b WHERE b.id = p_booking_id
$$;

-- Books a hold by other means than a payment: on arrival, with credits, or for free. A payment that is open for the hold
-- is closed first, and only Stripe can do that: the hold is then marked, and the caller calls again once it is closed.
--
-- p_booking_id names the booking if one is made, and the call: made again after a lost COMMIT it finds its own booking.
-- Answers {"outcome": ...}: booked (status 201; 200 where it was booked like this before) or replayed, each with "status"
-- and "answer" (text); close with "payment", whose lease the caller then has; or the problem's slug.
CREATE OR REPLACE FUNCTION book_reservation(
    p_booking_id uuid,
    p_reservation_id uuid,
    p_method text,
    p_user_id text,
    p_lease interval,
    p_key text DEFAULT NULL,
    p_request_hash text DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_scope constant text := 'bookings:' || p_reservation_id;
    v_payment payment_intents_log;
    v_hold ticket_reservations;
    v_now timestamptz;
    v_key idempotency_keys;
    v_booking bookings;
    v_begun boolean;
    v_on_arrival boolean;
    v_credits bigint;
    v_refused text;
    v_status integer;
    v_answer text;
BEGIN
    -- The customer's queue, in which the limit of holds is counted: a hold counts there until it is over, and what it
    -- becomes on arrival from the same moment on.
    PERFORM 1 FROM customers
    WHERE id = (SELECT customer_id FROM ticket_reservations WHERE id = p_reservation_id) FOR NO KEY UPDATE;
    SELECT * INTO v_payment FROM payment_intents_log
    WHERE reservation_id = p_reservation_id AND canceled_at IS NULL FOR NO KEY UPDATE;
    SELECT * INTO v_hold FROM ticket_reservations WHERE id = p_reservation_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('outcome', 'unknown-reservation');
    END IF;
    v_now := clock_timestamp();

    -- The hold's lock is also the lock of its keys: two calls under one key cannot both pass here.
    SELECT * INTO v_key FROM idempotency_keys WHERE scope = v_scope AND key = p_key;
    IF v_key.request_hash <> p_request_hash THEN
        RETURN jsonb_build_object('outcome', 'idempotency-key-reused');
    ELSIF v_key.answer IS NOT NULL THEN
        RETURN jsonb_build_object('outcome', 'replayed', 'status', v_key.status, 'answer', v_key.answer);
    END IF;

    SELECT * INTO v_booking FROM bookings WHERE reservation_id = p_reservation_id;
    IF v_booking.payment_method = p_method THEN
        v_status := CASE WHEN v_booking.id = p_booking_id THEN 201 ELSE 200 END;
    ELSE
        -- The prices are the hold's; what its offerings are sold for besides money is what they say now. Paid add-ons
        -- have no price in credits.
        SELECT bool_or(s.starts_at <= v_now), bool_and(o.pay_on_arrival),
               CASE WHEN bool_and(i.credits_price IS NOT NULL) AND NOT bool_or(EXISTS (
                   SELECT FROM reservation_add_ons a WHERE a.item_id = i.id AND a.unit_amount > 0
               )) THEN sum(i.units::bigint * i.credits_price) END
        INTO v_begun, v_on_arrival, v_credits
        FROM reservation_items i JOIN slots s ON s.id = i.slot_id JOIN offerings o ON o.id = s.offering_id
        WHERE i.reservation_id = p_reservation_id;
        v_refused := CASE
            WHEN v_payment.captured_amount > 0 OR v_hold.status = 'completed' THEN 'already-paid'
            WHEN v_hold.status = 'cancelled' OR v_hold.closing_as = 'cancelled' THEN 'reservation-cancelled'
            WHEN v_hold.status = 'expired' OR v_hold.closing_as = 'expired' OR v_hold.expires_at <= v_now
                THEN 'reservation-expired'
            WHEN v_begun THEN 'slot-closed'
            WHEN CASE p_method WHEN 'pay_on_arrival' THEN NOT v_on_arrival WHEN 'credits' THEN v_credits IS NULL
                ELSE v_hold.amount > 0 END THEN 'not-offered'
            -- Before a payment is closed for nothing.
            WHEN p_method = 'credits' AND credits_left(p_user_id) < v_credits THEN 'insufficient-credits'
            -- Somebody is at Stripe with the payment, or has written it while this call waited for the hold.
            WHEN v_hold.payment_id IS NOT NULL AND (v_payment.id IS NULL OR (
                v_payment.lease_until > v_now AND (v_payment.lease_owner = p_booking_id::text) IS NOT TRUE))
                THEN 'request-in-progress'
        END;
        IF v_refused IS NOT NULL THEN
            RETURN jsonb_build_object('outcome', v_refused);
        END IF;
        IF v_hold.payment_id IS NOT NULL THEN
            UPDATE ticket_reservations SET closing_at = coalesce(closing_at, v_now), closing_as = 'completed'
            WHERE id = p_reservation_id;
            UPDATE payment_intents_log
            SET attempt = attempt + 1, lease_until = v_now + p_lease, lease_owner = p_booking_id
            WHERE id = v_payment.id;
            RETURN jsonb_build_object('outcome', 'close', 'payment', payment_view(v_payment.id));
        END IF;
        IF p_method <> 'credits' THEN
            v_credits := 0;
        ELSIF NOT spend_credits(p_user_id, v_credits::integer, p_booking_id, 'booked') THEN
            RETURN jsonb_build_object('outcome', 'insufficient-credits');
        END IF;
        PERFORM sell_held_seats(p_reservation_id);
        PERFORM insert_booking(
            p_reservation_id, NULL, p_method,
            CASE p_method WHEN 'pay_on_arrival' THEN 'pending' WHEN 'credits' THEN 'paid' ELSE 'free' END,
            p_user_id, v_credits::integer, p_booking_id);
        v_status := 201;
    END IF;
    v_answer := booking_answer(coalesce(v_booking.id, p_booking_id))::text;
    IF p_key IS NOT NULL THEN
        INSERT INTO idempotency_keys (scope, key, request_hash, lease_until, status, answer)
        VALUES (v_scope, p_key, p_request_hash, v_now, v_status, v_answer);
    END IF;
    RETURN jsonb_build_object('outcome', 'booked', 'status', v_status, 'answer', v_answer);
END
$$;
