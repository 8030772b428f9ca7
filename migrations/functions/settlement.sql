-- What becomes of a payment fact: the event's row is claimed, the payment and its hold are locked, and (in the second
-- round trip of the same transaction) the one effect that the facts call for is written.

-- The request id of a payment's story: of the call that began it, which Stripe keeps in the payment's metadata, too.
CREATE OR REPLACE FUNCTION request_id_of(p payment_intents_log) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN coalesce(p.request_id, p.parameters #>> '{metadata,holdfast_request_id}');

-- The payment and its hold, locked in this order, as the rules need them. NULL where no row of ours is meant.
-- A payment is found by Stripe's ids first, then by our id in Stripe's metadata. Where our payment already has another
-- intent, Stripe has made a second one for it (a key lost its memory): it gets a row of its own, so that its money is
-- accounted for and given back like any other. Which of the two is the session's own does not matter here: the one that was
-- told of first has the payment's row.
CREATE OR REPLACE FUNCTION lock_payment(p_payment_intent_id text, p_checkout_session_id text, p_payment_id uuid)
RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_payment payment_intents_log;
    v_hold ticket_reservations;
BEGIN
    SELECT * INTO v_payment FROM payment_intents_log WHERE payment_intent_id = p_payment_intent_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        SELECT * INTO v_payment FROM payment_intents_log
        WHERE checkout_session_id = p_checkout_session_id FOR NO KEY UPDATE;
    END IF;
    IF NOT FOUND THEN
        SELECT * INTO v_payment FROM payment_intents_log WHERE id = p_payment_id FOR NO KEY UPDATE;
    END IF;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF v_payment.payment_intent_id <> p_payment_intent_id
        OR v_payment.checkout_session_id <> p_checkout_session_id
    THEN
        -- Two events of the second intent: the one who waited for the lock above finds the other's row.
        INSERT INTO payment_intents_log (
            id, reservation_id, mode, idempotency_key, payment_intent_id, checkout_session_id, amount, currency,
            parameters, lease_until, canceled_at, request_id
        ) VALUES (
            gen_random_uuid(), v_payment.reservation_id, v_payment.mode,
            'found:' || coalesce(p_payment_intent_id, p_checkout_session_id), p_payment_intent_id,
            nullif(p_checkout_session_id, v_payment.checkout_session_id), v_payment.amount, v_payment.currency,
            v_payment.parameters, now(), now(), request_id_of(v_payment)
        ) ON CONFLICT (idempotency_key) DO NOTHING;
        SELECT * INTO v_payment FROM payment_intents_log
        WHERE idempotency_key = 'found:' || coalesce(p_payment_intent_id, p_checkout_session_id)
        FOR NO KEY UPDATE;
    END IF;
    SELECT * INTO v_hold FROM ticket_reservations WHERE id = v_payment.reservation_id FOR NO KEY UPDATE;
    RETURN jsonb_build_object(
        'payment', jsonb_build_object(
            'id', v_payment.id, 'reservation_id', v_hold.id, 'amount', v_payment.amount,
            'currency', v_payment.currency, 'captured_amount', v_payment.captured_amount,
            'canceled', v_payment.canceled_at IS NOT NULL, 'payment_intent_id', v_payment.payment_intent_id,
            'funds_awaited', v_payment.funds_awaited_at IS NOT NULL, 'status', v_payment.status,
            'request_id', request_id_of(v_payment),
            'status_at', coalesce(extract(epoch FROM nullif(v_payment.status_at, '-infinity')), 0)
        ),
        'hold', jsonb_build_object(
            'status', v_hold.status,
            'begun', EXISTS (
                SELECT FROM reservation_items i JOIN slots s ON s.id = i.slot_id
                WHERE i.reservation_id = v_hold.id AND s.starts_at <= now()),
            'booked_by', (SELECT b.payment_id FROM bookings b WHERE b.reservation_id = v_hold.id)
        )
    );
END
$$;

-- How often this call counts as a delivery: whoever looks for events of its own accord is not Stripe.
CREATE OR REPLACE FUNCTION deliveries_of_this_call() RETURNS integer
LANGUAGE sql STABLE
RETURN (coalesce(nullif(current_setting('holdfast.context', true), '')::jsonb ->> 'actor', '') <> 'system')::integer;

-- From here on the transaction acts under this request id. Stripe and the schedules have no request of their own to
-- answer: what they bring about belongs to the story that they go on with. A person's call stays the call that it is.
CREATE OR REPLACE FUNCTION carry_on(p_request_id text) RETURNS void
LANGUAGE sql AS $$
    SELECT set_config('holdfast.context', (c || jsonb_build_object('request_id', p_request_id))::text, true)
    FROM (SELECT nullif(current_setting('holdfast.context', true), '')::jsonb) AS context (c)
    WHERE p_request_id <> '' AND c ->> 'actor' IN ('stripe', 'system')
$$;

-- Claims a Stripe event: its row is this transaction's until the end, so a parallel delivery waits and then sees what
-- became of it. DO UPDATE and not DO NOTHING: the one who comes second must read the row too.
-- Answers {"status": the status before, "attempts", "payment"?, "hold"?}.
CREATE OR REPLACE FUNCTION claim_webhook_event(
    p_event_id text,
    p_event_type text,
    p_payload jsonb,
    p_request_id text,
    p_payment_intent_id text,
    p_checkout_session_id text,
    p_payment_id uuid
) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_event webhook_events_log;
    v_locked jsonb;
BEGIN
    INSERT INTO webhook_events_log AS e (event_id, event_type, status, payload, request_id, deliveries)
    VALUES (p_event_id, p_event_type, 'received', p_payload, p_request_id, deliveries_of_this_call())
    ON CONFLICT (event_id) DO UPDATE SET deliveries = e.deliveries + excluded.deliveries
    RETURNING * INTO v_event;
    IF v_event.status IN ('processed', 'ignored', 'stale', 'quarantined') THEN
        RETURN jsonb_build_object('status', v_event.status, 'attempts', v_event.attempts);
    END IF;
    v_locked := lock_payment(p_payment_intent_id, p_checkout_session_id, p_payment_id);
    -- A refund has a story of its own, and says so.
    PERFORM carry_on(coalesce(
        p_payload #>> '{data,object,metadata,holdfast_request_id}', v_locked -> 'payment' ->> 'request_id'));
    RETURN jsonb_build_object('status', v_event.status, 'attempts', v_event.attempts) || coalesce(v_locked, '{}');
END
$$;

-- What Stripe has said, onto the payment's row. A session stays with the row that has it: the intent whose row this is may
-- have been told of as a second one before the session said that it is its own.
CREATE OR REPLACE FUNCTION record_facts(
    p_payment_id uuid,
    p_payment_intent_id text,
    p_checkout_session_id text,
    p_captured bigint,
    p_awaits_funds boolean,
    p_status text,
    p_status_at timestamptz,
    p_funds interval
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM carry_on(request_id_of(p)) FROM payment_intents_log p WHERE id = p_payment_id;
    UPDATE payment_intents_log SET
        payment_intent_id = coalesce(payment_intent_id, p_payment_intent_id),
        checkout_session_id = coalesce(checkout_session_id, CASE WHEN NOT EXISTS (
            SELECT FROM payment_intents_log o WHERE o.checkout_session_id = p_checkout_session_id
        ) THEN p_checkout_session_id END),
        captured_amount = greatest(captured_amount, p_captured),
        funds_awaited_at = CASE WHEN p_awaits_funds THEN coalesce(funds_awaited_at, p_status_at)
                                ELSE funds_awaited_at END,
        status = CASE WHEN p_captured > 0 THEN 'succeeded' ELSE p_status END,
        status_at = greatest(status_at, p_status_at)
    WHERE id = p_payment_id;
    IF p_captured = 0 THEN
        PERFORM await_funds(p_payment_id, p_awaits_funds, p_funds);
    END IF;
END
$$;

-- A hold whose money is on its way waits for it: p_funds from when Stripe first said so, and no longer than until the
-- first of its slots begins. Once it is on its way no more, the hold's ceiling counts again. A hold that is being ended
-- is left to whoever is ending it.
CREATE OR REPLACE FUNCTION await_funds(p_payment_id uuid, p_awaits_funds boolean, p_funds interval) RETURNS void
LANGUAGE sql AS $$
    UPDATE ticket_reservations r SET expires_at = CASE
        WHEN p_awaits_funds THEN greatest(r.expires_at, least(p.funds_awaited_at + p_funds, (
            SELECT min(s.starts_at) FROM reservation_items i JOIN slots s ON s.id = i.slot_id
            WHERE i.reservation_id = r.id)))
        ELSE least(r.expires_at, r.ceiling_at)
    END
    FROM payment_intents_log p
    WHERE p.id = p_payment_id AND p.funds_awaited_at IS NOT NULL
      AND r.id = p.reservation_id AND r.payment_id = p.id AND r.status = 'active' AND r.closing_at IS NULL
$$;

-- A word to the site's own back end, in the commit that causes it: it knows whom to write to, and about what.
CREATE OR REPLACE FUNCTION notify(
    p_type text, p_reservation_id uuid, p_booking_id uuid, p_payment_id uuid, p_reason text, p_amount bigint
) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO outbox (kind, dedupe_key, payload, request_id)
    SELECT 'notification', p_type || ':' || coalesce(p_booking_id, p_payment_id), jsonb_strip_nulls(jsonb_build_object(
        'type', p_type, 'reservation_id', r.id, 'booking_id', p_booking_id, 'payment_id', p_payment_id,
        'amount', p_amount, 'currency', r.currency, 'reason', p_reason, 'customer', jsonb_build_object(
            'email', c.email, 'name', c.name)
    )), nullif(current_setting('holdfast.context', true), '')::jsonb ->> 'request_id'
    FROM ticket_reservations r JOIN customers c ON c.id = r.customer_id
    WHERE r.id = p_reservation_id
    ON CONFLICT (dedupe_key) DO NOTHING
$$;

-- The booking of a hold: its lines at the prices that the hold froze, and nothing to pay where it is paid with credits.
-- The seats are the caller's affair.
CREATE OR REPLACE FUNCTION insert_booking(
    p_reservation_id uuid, p_payment_id uuid, p_method text, p_payment_status text,
    p_user_id text DEFAULT NULL, p_credits integer DEFAULT 0, p_booking_id uuid DEFAULT gen_random_uuid()
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bookings (
        id, reservation_id, customer_id, payment_id, payment_method, payment_status, amount, currency, user_id, credits)
    SELECT p_booking_id, id, customer_id, p_payment_id, p_method, p_payment_status,
           CASE WHEN p_credits = 0 THEN amount ELSE 0 END, currency, p_user_id, p_credits
    FROM ticket_reservations WHERE id = p_reservation_id;
    INSERT INTO booking_items (booking_id, slot_id, units, unit_amount, credits_price)
    SELECT p_booking_id, slot_id, units, unit_amount, credits_price
    FROM reservation_items WHERE reservation_id = p_reservation_id;
    INSERT INTO booking_add_ons (item_id, add_on_id, quantity, unit_amount)
    SELECT b.id, a.add_on_id, a.quantity, a.unit_amount
    FROM reservation_add_ons a
    JOIN reservation_items i ON i.id = a.item_id
    JOIN booking_items b ON b.booking_id = p_booking_id AND b.slot_id = i.slot_id
    WHERE i.reservation_id = p_reservation_id;
    UPDATE ticket_reservations SET status = 'completed', closing_at = NULL, closing_as = NULL
    WHERE id = p_reservation_id;
    PERFORM notify('booked', p_reservation_id, p_booking_id, p_payment_id, NULL, NULL);
END
$$;

-- What this active hold holds is sold. The caller holds the reservation's lock.
CREATE OR REPLACE FUNCTION sell_held_seats(p_reservation_id uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_slots_of(ARRAY[p_reservation_id]);
    UPDATE slots s
    SET held_units = s.held_units - i.units, sold_units = s.sold_units + i.units,
        held_bookings = s.held_bookings - 1, sold_bookings = s.sold_bookings + 1
    FROM reservation_items i WHERE i.reservation_id = p_reservation_id AND s.id = i.slot_id;
END
$$;

-- Paid, and the hold still has its seats.
CREATE OR REPLACE FUNCTION confirm_hold(p_reservation_id uuid, p_payment_id uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sell_held_seats(p_reservation_id);
    PERFORM insert_booking(p_reservation_id, p_payment_id, 'pay_now', 'paid');
END
$$;

-- Gives all of a captured payment back: the amount is reserved here, Stripe is asked from the outbox.
CREATE OR REPLACE FUNCTION refund_payment(p_payment_id uuid, p_reason text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_payment payment_intents_log;
BEGIN
    SELECT * INTO v_payment FROM payment_intents_log WHERE id = p_payment_id;
    PERFORM request_refund(p_payment_id, v_payment.captured_amount, p_reason);
    PERFORM notify(
        'could-not-be-seated', v_payment.reservation_id, NULL, p_payment_id, p_reason, v_payment.captured_amount);
END
$$;

-- Paid, but what was held cannot be booked (its time has come): the seats go back, and so does the money.
CREATE OR REPLACE FUNCTION release_and_refund(p_reservation_id uuid, p_payment_id uuid, p_reason text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_slots_of(ARRAY[p_reservation_id]);
    PERFORM release_holds(ARRAY[p_reservation_id], 'expired');
    PERFORM refund_payment(p_payment_id, p_reason);
END
$$;

-- Paid after the hold had expired: the same seats are taken again under the rules of a new hold, all of them, or the
-- money goes back in the same commit. There is no third end.
CREATE OR REPLACE FUNCTION seat_again_or_refund(p_reservation_id uuid, p_payment_id uuid) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_slots constant uuid[] := ARRAY(
        SELECT slot_id FROM reservation_items WHERE reservation_id = p_reservation_id ORDER BY slot_id);
    v_expired uuid[];
    v_refused text;
BEGIN
    v_expired := ARRAY(
        SELECT r.id FROM ticket_reservations r
        WHERE r.status = 'active' AND r.expires_at <= now() AND r.payment_id IS NULL
          AND EXISTS (SELECT FROM reservation_items i WHERE i.reservation_id = r.id AND i.slot_id = ANY (v_slots) OFFSET 0)
        FOR NO KEY UPDATE SKIP LOCKED
    );
    PERFORM lock_slots_of(v_expired || p_reservation_id);
    IF cardinality(v_expired) > 0 THEN
        PERFORM release_holds(v_expired, 'expired');
    END IF;
    SELECT CASE
        WHEN bool_or(s.is_legacy OR o.retired_at IS NOT NULL OR s.starts_at <= now()) THEN 'slot-closed'
        WHEN bool_or(
            s.held_units + s.sold_units + i.units > s.max_units
            OR s.held_bookings + s.sold_bookings + 1 > s.max_bookings) THEN 'sold-out'
    END
    INTO v_refused
    FROM reservation_items i JOIN slots s ON s.id = i.slot_id JOIN offerings o ON o.id = s.offering_id
    WHERE i.reservation_id = p_reservation_id;
    IF v_refused IS NOT NULL THEN
        PERFORM refund_payment(p_payment_id, 'paid-late-' || v_refused);
        RETURN 'refunded';
    END IF;
    UPDATE slots s SET sold_units = s.sold_units + i.units, sold_bookings = s.sold_bookings + 1
    FROM reservation_items i WHERE i.reservation_id = p_reservation_id AND s.id = i.slot_id;
    PERFORM insert_booking(p_reservation_id, p_payment_id, 'pay_now', 'paid');
    RETURN 'seated';
END
$$;

-- What became of the event, in the commit that made it so. A parked one is tried again once it is twice as old, at first
-- in every run and at last every six hours.
CREATE OR REPLACE FUNCTION settle_webhook_event(p_event_id text, p_status text, p_reason text, p_payment_id uuid)
RETURNS void
LANGUAGE sql AS $$
    UPDATE webhook_events_log
    SET status = p_status, reason = p_reason, payment_id = coalesce(p_payment_id, payment_id),
        attempts = attempts + 1, last_error = NULL, processed_at = clock_timestamp(),
        request_id = coalesce(
            payload #>> '{data,object,metadata,holdfast_request_id}',
            (SELECT request_id_of(p) FROM payment_intents_log p WHERE p.id = p_payment_id), request_id),
        next_attempt_at = CASE WHEN p_status = 'parked'
            THEN clock_timestamp() + least(clock_timestamp() - received_at, interval '6 hours') END
    WHERE event_id = p_event_id
$$;

-- An event that nothing is done with. Answers its status, or duplicate where it is settled already.
CREATE OR REPLACE FUNCTION note_webhook_event(
    p_event_id text, p_event_type text, p_status text, p_reason text, p_payload jsonb, p_request_id text
) RETURNS text
LANGUAGE sql AS $$
    INSERT INTO webhook_events_log AS e (
        event_id, event_type, status, attempts, reason, payload, request_id, processed_at, deliveries
    ) VALUES (
        p_event_id, p_event_type, p_status, 1, p_reason, p_payload, p_request_id, now(), deliveries_of_this_call()
    )
    ON CONFLICT (event_id) DO UPDATE SET deliveries = e.deliveries + excluded.deliveries
    RETURNING CASE WHEN xmax <> 0 AND status IN ('processed', 'ignored', 'stale', 'quarantined') THEN 'duplicate'
                   ELSE status END
$$;

-- The payment that an event is about, as far as its own words say; NULL where it is none of ours.
CREATE OR REPLACE FUNCTION payment_of_event(p_payload jsonb) RETURNS uuid
LANGUAGE sql STABLE AS $$
    SELECT p.id FROM payment_intents_log p
    WHERE p.payment_intent_id IN (p_payload #>> '{data,object,id}', p_payload #>> '{data,object,payment_intent}')
       OR p.checkout_session_id = p_payload #>> '{data,object,id}'
       OR p.id = CASE WHEN p_payload #>> '{data,object,metadata,holdfast_payment_id}' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                 THEN (p_payload #>> '{data,object,metadata,holdfast_payment_id}')::uuid END
    ORDER BY p.created_at LIMIT 1
$$;

-- An event whose effects were rolled back: the next delivery does it again, or reconciliation after a pause that doubles.
-- After twelve tries, most of a day, it is dead: a person has to look. Answers failed or dead; NULL where this was no try:
-- a message of the inbox comes every few minutes, before the event's time as well, and when it is dead.
CREATE OR REPLACE FUNCTION fail_webhook_event(
    p_event_id text, p_event_type text, p_payload jsonb, p_request_id text, p_reason text, p_error text
) RETURNS text
LANGUAGE sql AS $$
    INSERT INTO webhook_events_log AS e (
        event_id, event_type, status, attempts, deliveries, reason, last_error, payload, payment_id, request_id,
        next_attempt_at
    ) VALUES (
        p_event_id, p_event_type, 'failed', 1, deliveries_of_this_call(), p_reason, p_error, p_payload,
        payment_of_event(p_payload), p_request_id, now() + interval '1 minute'
    )
    ON CONFLICT (event_id) DO UPDATE SET
        -- To look whether its payment is there by now was no failure.
        status = CASE WHEN e.attempts >= 11 AND e.status <> 'parked' THEN 'dead' ELSE 'failed' END,
        attempts = CASE WHEN e.status = 'parked' THEN 1 ELSE e.attempts + 1 END,
        deliveries = e.deliveries + excluded.deliveries, reason = excluded.reason,
        last_error = excluded.last_error, payment_id = coalesce(e.payment_id, excluded.payment_id),
        next_attempt_at = CASE
            WHEN e.status = 'parked' THEN now() + interval '1 minute'
            WHEN e.attempts < 11 THEN now() + least(interval '1 minute' * 2 ^ e.attempts, interval '6 hours')
        END
    WHERE e.status IN ('received', 'parked', 'failed', 'dead') AND NOT (
        e.status IN ('failed', 'dead') AND (e.next_attempt_at > now()) IS NOT FALSE
        AND nullif(current_setting('holdfast.context', true), '')::jsonb ->> 'actor_id' IS NOT DISTINCT FROM 'webhook-inbox')
    RETURNING status
$$;
