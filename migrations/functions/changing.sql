-- Changing a booking: cancelling it, moving it to another slot, giving money back. Each is one call and one commit, in the
-- lock order of everything: payment, booking, the owner's credits, slots by id. Who changes brings the version that they
-- have seen, and an id of the call, by which a call that is made again after a lost COMMIT finds its own first run.

-- The booking, locked after its payment: what Stripe says of that money meanwhile waits, and then finds the booking changed.
CREATE OR REPLACE FUNCTION lock_booking(p_booking_id uuid) RETURNS bookings
LANGUAGE plpgsql AS $$
DECLARE
    v_booking bookings;
BEGIN
    PERFORM 1 FROM payment_intents_log
    WHERE id = (SELECT payment_id FROM bookings WHERE id = p_booking_id) FOR NO KEY UPDATE;
    SELECT * INTO v_booking FROM bookings WHERE id = p_booking_id FOR NO KEY UPDATE;
    RETURN v_booking;
END
$$;

-- Why nobody who has seen p_version may change the booking; NULL where they may.
CREATE OR REPLACE FUNCTION refused_change(p_booking bookings, p_version integer) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_booking.id IS NULL THEN '{"outcome": "unknown-booking"}'
        WHEN p_booking.version IS DISTINCT FROM p_version
            THEN jsonb_build_object('outcome', 'version-conflict', 'version', p_booking.version)
        WHEN p_booking.status = 'frozen' THEN '{"outcome": "disputed"}'
        WHEN p_booking.status = 'revoked' THEN '{"outcome": "booking-not-active"}'
    END
$$;

-- The refusal of a field that only the booking can say is wrong.
CREATE OR REPLACE FUNCTION invalid_field(p_pointer text, p_detail text) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('outcome', 'invalid-request', 'errors', jsonb_build_array(
        jsonb_build_object('pointer', p_pointer, 'detail', p_detail)))
$$;

-- The share of the price, in percent, that cancelling gives back at this moment. p_policy: [[hours before the first slot
-- begins, percent], ...], and nothing once the last of them has passed.
CREATE OR REPLACE FUNCTION refund_percent(p_booking bookings, p_policy jsonb) RETURNS integer
LANGUAGE sql VOLATILE AS $$
    SELECT least(p_booking.refundable_percent, coalesce(max((step ->> 1)::integer), 0))
    FROM jsonb_array_elements(p_policy) step
    WHERE clock_timestamp() + make_interval(hours => (step ->> 0)::integer) <= (
        SELECT min(s.starts_at) FROM booking_items i JOIN slots s ON s.id = i.slot_id
        WHERE i.booking_id = p_booking.id)
$$;

-- A word to the site's own back end about a booking of its customer's, once a version.
CREATE OR REPLACE FUNCTION notify_changed(p_booking bookings, p_type text, p_what jsonb) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO outbox (kind, dedupe_key, payload, request_id)
    SELECT 'notification', p_type || ':' || p_booking.id || ':' || p_booking.version, jsonb_build_object(
        'type', p_type, 'reservation_id', p_booking.reservation_id, 'booking_id', p_booking.id,
        'customer', jsonb_build_object('email', c.email, 'name', c.name)
    ) || p_what, nullif(current_setting('holdfast.context', true), '')::jsonb ->> 'request_id'
    FROM customers c WHERE c.id = p_booking.customer_id
$$;

-- A cancelled booking, and what cancelling it has given back.
CREATE OR REPLACE FUNCTION cancelled_answer(p_booking_id uuid) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT booking_answer(b.id)::jsonb || jsonb_strip_nulls(jsonb_build_object(
        'returned_credits', nullif(b.credits::bigint * b.refundable_percent / 100, 0),
        'refund', (
            SELECT jsonb_build_object('id', f.id, 'amount', f.amount, 'currency', b.currency, 'status', f.status)
            FROM refunds f WHERE f.payment_id = b.payment_id AND f.reason = 'booking-cancelled'
            ORDER BY f.created_at LIMIT 1)
    ))
    FROM bookings b WHERE b.id = p_booking_id
$$;

-- Ends a booking: its seats go back, and of what was paid the policy's share, rounded down to what the currency can be
-- paid in. p_chargeable as for begin_payment. What stands for payment on arrival is owed no more.
-- Answers {"outcome": ...}: cancelled with "answer"; version-conflict with "version"; disputed; booking-not-active.
CREATE OR REPLACE FUNCTION cancel_booking(
    p_booking_id uuid, p_change_id uuid, p_version integer, p_policy jsonb, p_chargeable jsonb
) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_booking bookings := lock_booking(p_booking_id);
    v_refused jsonb := refused_change(v_booking, p_version);
    v_percent integer;
    v_step bigint;
    v_amount bigint := 0;
    v_credits integer := 0;
BEGIN
    IF v_booking.last_change_id = p_change_id OR (v_refused IS NULL AND v_booking.status = 'cancelled') THEN
        RETURN jsonb_build_object('outcome', 'cancelled', 'answer', cancelled_answer(p_booking_id));
    ELSIF v_refused IS NOT NULL THEN
        RETURN v_refused;
    END IF;
    v_percent := refund_percent(v_booking, p_policy);
    IF v_booking.payment_method = 'pay_now' THEN
        -- One that Stripe has given up is not charged any more, and still goes back.
        v_step := coalesce(p_chargeable -> v_booking.currency ->> 2, '1');
        v_amount := least(
            v_booking.amount * v_percent / 100 / v_step * v_step, refundable_amount(v_booking.payment_id));
        IF v_amount > 0 THEN
            PERFORM request_refund(v_booking.payment_id, v_amount, 'booking-cancelled');
        END IF;
    ELSIF v_booking.payment_method = 'credits' THEN
        v_credits := v_booking.credits::bigint * v_percent / 100;
        IF v_credits > 0 THEN
            PERFORM return_credits(p_booking_id, v_credits, 'booking-cancelled');
        END IF;
    END IF;
    PERFORM give_back_seats(p_booking_id);
    UPDATE bookings SET
        status = 'cancelled', cancelled_at = clock_timestamp(), refundable_percent = v_percent,
        last_change_id = p_change_id,
        payment_status = CASE
            WHEN payment_method = 'pay_on_arrival' AND payment_status = 'pending' THEN 'failed'
            WHEN payment_method = 'credits' AND v_credits = credits THEN 'refunded'
            WHEN v_credits > 0 THEN 'partially_refunded'
            ELSE payment_status
        END
    WHERE id = p_booking_id RETURNING * INTO v_booking;
    PERFORM notify_changed(v_booking, 'cancelled', jsonb_strip_nulls(jsonb_build_object(
        'amount', nullif(v_amount, 0), 'credits', nullif(v_credits, 0), 'currency', v_booking.currency)));
    RETURN jsonb_build_object('outcome', 'cancelled', 'answer', cancelled_answer(p_booking_id));
END
$$;

-- Moves one line of a booking to another slot of the same offering, at the price that was paid: the new seats are taken and
-- the old ones given back in one act, or nothing changes. p_item_id may be NULL where the booking has one line.
-- Answers {"outcome": ...}: rescheduled with "answer"; version-conflict with "version"; sold-out with "left", and
-- "returning" where dead holds that another call has in its hands keep what is wanted; invalid-request with "errors";
-- disputed, booking-not-active, unknown-slot, not-offered, slot-closed.
CREATE OR REPLACE FUNCTION reschedule_booking(
    p_booking_id uuid, p_change_id uuid, p_version integer, p_item_id uuid, p_slot_id uuid, p_policy jsonb
) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_booking bookings := lock_booking(p_booking_id);
    v_refused jsonb := refused_change(v_booking, p_version);
    v_items booking_items[] := ARRAY(
        SELECT i FROM booking_items i
        WHERE i.booking_id = p_booking_id AND i.id = coalesce(p_item_id, i.id));
    v_item booking_items := v_items[1];
    v_wanted jsonb := jsonb_build_array(jsonb_build_object('slot_id', p_slot_id, 'units', v_item.units));
    v_expired uuid[];
    v_slots uuid[];
BEGIN
    IF v_booking.last_change_id = p_change_id THEN
        RETURN jsonb_build_object('outcome', 'rescheduled', 'answer', booking_answer(p_booking_id));
    ELSIF v_refused IS NOT NULL THEN
        RETURN v_refused;
    ELSIF v_booking.status = 'cancelled' THEN
        RETURN jsonb_build_object('outcome', 'booking-not-active');
    ELSIF cardinality(v_items) <> 1 THEN
        RETURN invalid_field('/item_id', CASE
            WHEN p_item_id IS NULL THEN 'Say which: the booking has several items'
            ELSE 'The booking has no such item' END);
    ELSIF v_item.slot_id = p_slot_id THEN
        RETURN jsonb_build_object('outcome', 'rescheduled', 'answer', booking_answer(p_booking_id));
    ELSIF NOT EXISTS (SELECT FROM slots WHERE id = p_slot_id) THEN
        RETURN jsonb_build_object('outcome', 'unknown-slot');
    ELSIF (SELECT count(DISTINCT offering_id) FROM slots WHERE id IN (v_item.slot_id, p_slot_id)) > 1 THEN
        RETURN jsonb_build_object('outcome', 'not-offered');
    END IF;

    v_expired := ARRAY(
        SELECT r.id FROM ticket_reservations r
        WHERE r.status = 'active' AND r.expires_at <= now() AND r.payment_id IS NULL
          AND EXISTS (SELECT FROM reservation_items i WHERE i.reservation_id = r.id AND i.slot_id = p_slot_id OFFSET 0)
        FOR NO KEY UPDATE SKIP LOCKED
    );
    v_slots := ARRAY[v_item.slot_id, p_slot_id]
        || ARRAY(SELECT slot_id FROM reservation_items WHERE reservation_id = ANY (v_expired));
    PERFORM 1 FROM slots WHERE id = ANY (v_slots) ORDER BY id FOR NO KEY UPDATE;
    IF cardinality(v_expired) > 0 THEN
        PERFORM release_holds(v_expired, 'expired');
    END IF;
    -- What has begun is not moved any more; a line may leave a legacy slot, but not come to one, or to one that has gone.
    IF NOT EXISTS (SELECT FROM slots WHERE id = p_slot_id) OR EXISTS (
        SELECT FROM slots s JOIN offerings o ON o.id = s.offering_id
        WHERE s.id IN (v_item.slot_id, p_slot_id)
          AND (s.starts_at <= clock_timestamp() OR (s.id = p_slot_id AND (s.is_legacy OR o.retired_at IS NOT NULL)))
    ) THEN
        RETURN jsonb_build_object('outcome', 'slot-closed');
    ELSIF NOT slots_have(v_wanted) THEN
        RETURN sold_out(ARRAY[p_slot_id]) || jsonb_build_object('returning', slots_can_take(v_wanted));
    END IF;

    -- Reckoned before the move: nobody moves far ahead in order to cancel for all of the price.
    UPDATE bookings SET refundable_percent = refund_percent(v_booking, p_policy), last_change_id = p_change_id
    WHERE id = p_booking_id RETURNING * INTO v_booking;
    UPDATE booking_items SET slot_id = p_slot_id WHERE id = v_item.id;
    UPDATE slots SET
        sold_units = sold_units + CASE WHEN id = p_slot_id THEN v_item.units ELSE -v_item.units END,
        sold_bookings = sold_bookings + CASE WHEN id = p_slot_id THEN 1 ELSE -1 END
    WHERE id IN (v_item.slot_id, p_slot_id);
    PERFORM notify_changed(v_booking, 'rescheduled', jsonb_build_object(
        'item_id', v_item.id, 'from_slot_id', v_item.slot_id, 'slot_id', p_slot_id,
        'starts_at', (SELECT rfc3339(starts_at) FROM slots WHERE id = p_slot_id)));
    RETURN jsonb_build_object('outcome', 'rescheduled', 'answer', booking_answer(p_booking_id));
END
$$;

-- Gives some of a booking's money back because a person says so; p_amount NULL is all that is left. The caller chooses the
-- refund's id. Answers {"outcome": ...}: requested or replayed with "answer" (text); unknown-booking, disputed,
-- refund-exceeds-paid, idempotency-key-reused, invalid-request with "errors".
CREATE OR REPLACE FUNCTION refund_booking(
    p_booking_id uuid, p_refund_id uuid, p_amount bigint, p_reason text, p_chargeable jsonb, p_caller text, p_key text,
    p_request_hash text
) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_scope constant text := 'bookings:' || p_booking_id || ':refunds:' || p_caller;
    v_booking bookings := lock_booking(p_booking_id);
    v_step bigint := p_chargeable -> v_booking.currency ->> 2;
    v_known jsonb := known_answer(v_scope, p_key, p_request_hash, NULL);
    v_amount bigint := coalesce(p_amount, refundable_amount(v_booking.payment_id), 0);
    v_outcome text;
    v_answer text;
BEGIN
    IF v_booking.id IS NULL THEN
        RETURN jsonb_build_object('outcome', 'unknown-booking');
    ELSIF v_known IS NOT NULL THEN
        RETURN v_known;
    ELSIF v_amount % v_step <> 0 THEN
        RETURN invalid_field('/amount', 'Input should be a multiple of ' || v_step);
    END IF;
    IF NOT EXISTS (SELECT FROM refunds WHERE id = p_refund_id) THEN
        v_outcome := CASE
            WHEN v_booking.payment_id IS NULL THEN 'refund-exceeds-paid'
            ELSE request_refund(v_booking.payment_id, v_amount, 'by-hand: ' || p_reason, p_refund_id)
        END;
        IF v_outcome <> 'requested' THEN
            RETURN jsonb_build_object('outcome', v_outcome);
        END IF;
    END IF;
    v_answer := (
        SELECT json_build_object(
            'id', f.id, 'booking_id', p_booking_id, 'payment_id', f.payment_id, 'amount', f.amount,
            'currency', v_booking.currency, 'status', f.status, 'reason', p_reason)
        FROM refunds f WHERE f.id = p_refund_id);
    IF p_key IS NOT NULL THEN
        INSERT INTO idempotency_keys (scope, key, request_hash, lease_until, status, answer)
        VALUES (v_scope, p_key, p_request_hash, now(), 202, v_answer);
    END IF;
    RETURN jsonb_build_object('outcome', 'requested', 'answer', v_answer);
END
$$;
