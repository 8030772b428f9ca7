-- Holding seats and letting them go. Lock order everywhere: customer, payment, reservation, credits, then slots by id
-- (docs/decisions/0004).

-- What could be held now: what is neither held nor sold, and what is held by holds that are over and have no payment
-- open (those come back the moment somebody wants them).
--
-- Here and below the way leads from the holds that are over to their items, never from a slot to all that it has ever
-- sold: OFFSET 0 keeps the planner from turning that round, which knows nothing of a slot that everybody wants today.
CREATE OR REPLACE FUNCTION slots_left(p_slots uuid[])
RETURNS TABLE (slot_id uuid, units_left integer, bookings_left integer)
LANGUAGE sql STABLE AS $$
    SELECT
        s.id,
        s.max_units - s.held_units - s.sold_units + coalesce(o.units, 0)::integer,
        s.max_bookings - s.held_bookings - s.sold_bookings + coalesce(o.bookings, 0)::integer
    FROM slots s
    LEFT JOIN (
        SELECT i.slot_id, sum(i.units) AS units, count(*) AS bookings
        FROM ticket_reservations r
        CROSS JOIN LATERAL (SELECT slot_id, units FROM reservation_items WHERE reservation_id = r.id OFFSET 0) i
        WHERE r.status = 'active' AND r.expires_at <= now() AND r.payment_id IS NULL AND i.slot_id = ANY (p_slots)
        GROUP BY i.slot_id
    ) o ON o.slot_id = s.id
    WHERE s.id = ANY (p_slots)
$$;

-- The answer to a caller who holds: every field of its answer but the token, which is stored nowhere. `json` and
-- not `jsonb`: the order of the fields is part of a byte-equal replay.
CREATE OR REPLACE FUNCTION reservation_answer(p_reservation_id uuid) RETURNS json
LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'id', r.id,
        'status', CASE WHEN r.status = 'active' AND r.expires_at <= now() THEN 'expired' ELSE r.status END,
        'expires_at', rfc3339(r.expires_at),
        'amount', r.amount,
        'currency', r.currency,
        'items', (
            SELECT json_agg(json_build_object(
                'id', i.id, 'slot_id', i.slot_id, 'units', i.units, 'unit_amount', i.unit_amount,
                'add_ons', (
                    SELECT coalesce(json_agg(json_build_object(
                        'id', a.add_on_id, 'quantity', a.quantity, 'unit_amount', a.unit_amount
                    ) ORDER BY a.add_on_id), '[]')
                    FROM reservation_add_ons a WHERE a.item_id = i.id
                )
            ) ORDER BY i.slot_id)
            FROM reservation_items i WHERE i.reservation_id = r.id
        )
    )
    FROM ticket_reservations r WHERE r.id = p_reservation_id
$$;

-- The slots of these reservations, locked in id order. The caller holds the reservations' locks.
CREATE OR REPLACE FUNCTION lock_slots_of(p_reservations uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_slots uuid[] := ARRAY(
        SELECT DISTINCT i.slot_id FROM reservation_items i WHERE i.reservation_id = ANY (p_reservations));
BEGIN
    PERFORM 1 FROM slots WHERE id = ANY (v_slots) ORDER BY id FOR NO KEY UPDATE;
END
$$;

-- Gives the seats of these active holds back. The caller holds the locks of the reservations and of their slots.
CREATE OR REPLACE FUNCTION release_holds(p_reservations uuid[], p_status text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE slots s
    SET held_units = s.held_units - i.units, held_bookings = s.held_bookings - i.bookings
    FROM (
        SELECT slot_id, sum(units)::integer AS units, count(*)::integer AS bookings
        FROM reservation_items WHERE reservation_id = ANY (p_reservations) GROUP BY slot_id
    ) i
    WHERE s.id = i.slot_id;
    UPDATE ticket_reservations
    SET status = p_status, payment_id = NULL, closing_at = NULL, closing_as = NULL
    WHERE id = ANY (p_reservations);
END
$$;

-- Holds seats: all that are asked for or none, in one call.
--
-- p_items: [{"slot_id", "units", "add_ons": [{"id", "quantity"}]}]. The caller chooses the id of the reservation, so
-- that a call whose COMMIT was lost on the way can be made again. Answers {"outcome": ...}: held or replayed with
-- "answer" (text); unknown-slot, unknown-add-on, slot-closed, mixed-currencies, too-many-holds,
-- idempotency-key-reused; sold-out with "left", and in "waiting" up to three holds that are over but whose payment
-- only Stripe can end.
CREATE OR REPLACE FUNCTION reserve_tickets(
    p_reservation_id uuid,
    p_email text,
    p_name text,
    p_phone text,
    p_items jsonb,
    p_hold interval DEFAULT interval '15 minutes',
    p_ceiling interval DEFAULT interval '30 minutes',
    p_key text DEFAULT NULL,
    p_request_hash text DEFAULT NULL,
    p_request_id text DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    c_max_active constant integer := 5;
    v_scope constant text := 'reservations:' || lower(p_email);
    v_slots constant uuid[] := ARRAY(SELECT (w ->> 'slot_id')::uuid FROM jsonb_array_elements(p_items) w);
    v_found integer;
    v_closed boolean;
    v_currencies text[];
    v_first_start timestamptz;
    v_customer uuid;
    v_new_customer boolean;
    v_expired uuid[];
    v_locked uuid[];
    v_now timestamptz;
    v_answer text;
    v_known jsonb;
    v_outcome text;
BEGIN
    -- Refusals that need no lock come first: they cost nobody anything.
    v_known := known_answer(v_scope, p_key, p_request_hash, p_reservation_id);
    IF v_known IS NOT NULL THEN
        RETURN v_known;
    END IF;
    SELECT count(*), bool_or(s.is_legacy OR s.starts_at <= now() OR o.retired_at IS NOT NULL),
           array_agg(DISTINCT o.currency), min(s.starts_at)
    INTO v_found, v_closed, v_currencies, v_first_start
    FROM slots s JOIN offerings o ON o.id = s.offering_id WHERE s.id = ANY (v_slots);
    IF v_found < cardinality(v_slots) THEN
        RETURN jsonb_build_object('outcome', 'unknown-slot');
    END IF;
    IF EXISTS (
        SELECT FROM jsonb_array_elements(p_items) w, jsonb_array_elements(w -> 'add_ons') a
        WHERE NOT EXISTS (
            SELECT FROM add_ons ao JOIN slots s ON s.offering_id = ao.offering_id
            WHERE ao.id = (a ->> 'id')::uuid AND s.id = (w ->> 'slot_id')::uuid AND ao.retired_at IS NULL
        )
    ) THEN
        RETURN jsonb_build_object('outcome', 'unknown-add-on');
    END IF;
    IF v_closed THEN
        RETURN jsonb_build_object('outcome', 'slot-closed');
    END IF;
    IF cardinality(v_currencies) > 1 THEN
        RETURN jsonb_build_object('outcome', 'mixed-currencies');
    END IF;
    IF NOT slots_can_take(p_items) THEN
        -- Unless it was this very request, sent twice, that took the last seats a moment ago.
        RETURN coalesce(known_answer(v_scope, p_key, p_request_hash, p_reservation_id), sold_out(v_slots));
    END IF;

    -- The customer's row is the queue in which a customer's calls stand: it makes the limit of holds exact, and a
    -- second call under the same key waits for the first.
    INSERT INTO customers AS c (email, name, phone) VALUES (p_email, p_name, p_phone)
    ON CONFLICT (lower(email)) DO UPDATE SET phone = coalesce(c.phone, excluded.phone)
    RETURNING c.id, c.xmax = 0 INTO v_customer, v_new_customer;
    v_known := known_answer(v_scope, p_key, p_request_hash, p_reservation_id);
    IF v_known IS NOT NULL THEN
        RETURN v_known;
    END IF;
    IF (
        SELECT count(*) FROM ticket_reservations
        WHERE customer_id = v_customer AND status = 'active' AND expires_at > clock_timestamp()
    ) + (
        SELECT count(*) FROM bookings b
        WHERE b.customer_id = v_customer AND b.payment_method = 'pay_on_arrival' AND b.payment_status = 'pending'
          AND b.status = 'confirmed' AND EXISTS (
              SELECT FROM booking_items i JOIN slots s ON s.id = i.slot_id
              WHERE i.booking_id = b.id AND s.starts_at > clock_timestamp())
    ) >= c_max_active THEN
        RETURN jsonb_build_object('outcome', 'too-many-holds');
    END IF;

    v_expired := ARRAY(
        SELECT r.id FROM ticket_reservations r
        WHERE r.status = 'active' AND r.expires_at <= now() AND r.payment_id IS NULL
          AND EXISTS (SELECT FROM reservation_items i WHERE i.reservation_id = r.id AND i.slot_id = ANY (v_slots) OFFSET 0)
        FOR NO KEY UPDATE SKIP LOCKED
    );
    v_locked := v_slots || ARRAY(SELECT slot_id FROM reservation_items WHERE reservation_id = ANY (v_expired));
    PERFORM 1 FROM slots WHERE id = ANY (v_locked) ORDER BY id FOR NO KEY UPDATE;
    IF cardinality(v_expired) > 0 THEN
        PERFORM release_holds(v_expired, 'expired');
    END IF;
    -- What was read before the locks may have changed in the wait for them.
    SELECT CASE
        WHEN count(*) < cardinality(v_slots) THEN 'unknown-slot'
        WHEN bool_or(s.is_legacy OR s.starts_at <= clock_timestamp() OR o.retired_at IS NOT NULL) THEN 'slot-closed'
        WHEN bool_or(o.currency <> v_currencies[1]) THEN 'lock-timeout'
    END
    INTO v_outcome FROM slots s JOIN offerings o ON o.id = s.offering_id WHERE s.id = ANY (v_slots);
    IF v_outcome IS NOT NULL THEN
        IF v_new_customer THEN
            DELETE FROM customers WHERE id = v_customer;
        END IF;
        RETURN jsonb_build_object('outcome', v_outcome);
    END IF;
    IF NOT slots_have(p_items) THEN
        IF v_new_customer THEN
            DELETE FROM customers WHERE id = v_customer;
        END IF;
        RETURN sold_out(v_slots);
    END IF;

    -- Time is read after the last lock, so that a wait does not shorten the hold; nobody holds past the beginning.
    v_now := clock_timestamp();
    UPDATE slots s SET held_units = s.held_units + (w ->> 'units')::integer, held_bookings = s.held_bookings + 1
    FROM jsonb_array_elements(p_items) w WHERE s.id = (w ->> 'slot_id')::uuid;
    -- Prices, lines and their sum in one statement: of one moment, and one version of the row.
    WITH lines AS MATERIALIZED (
        SELECT gen_random_uuid() AS id, s.id AS slot_id, (w ->> 'units')::integer AS units, o.unit_amount,
               o.credits_price, w -> 'add_ons' AS add_ons
        FROM jsonb_array_elements(p_items) w
        JOIN slots s ON s.id = (w ->> 'slot_id')::uuid
        JOIN offerings o ON o.id = s.offering_id
    ), extras AS MATERIALIZED (
        SELECT l.id AS item_id, ao.id AS add_on_id, (a ->> 'quantity')::integer AS quantity, ao.unit_amount
        FROM lines l
        CROSS JOIN jsonb_array_elements(l.add_ons) a
        JOIN add_ons ao ON ao.id = (a ->> 'id')::uuid
    ), hold AS (
        INSERT INTO ticket_reservations (id, customer_id, expires_at, ceiling_at, amount, currency, request_id)
        SELECT p_reservation_id, v_customer, least(v_now + p_hold, v_first_start), least(v_now + p_ceiling, v_first_start),
               (SELECT sum(units * unit_amount) FROM lines)
                   + coalesce((SELECT sum(quantity * unit_amount) FROM extras), 0),
               v_currencies[1], p_request_id
    ), items AS (
        INSERT INTO reservation_items (id, reservation_id, slot_id, units, unit_amount, credits_price)
        SELECT id, p_reservation_id, slot_id, units, unit_amount, credits_price FROM lines
    )
    INSERT INTO reservation_add_ons (item_id, add_on_id, quantity, unit_amount)
    SELECT item_id, add_on_id, quantity, unit_amount FROM extras;

    v_answer := reservation_answer(p_reservation_id)::text;
    IF p_key IS NOT NULL THEN
        INSERT INTO idempotency_keys (scope, key, request_hash, lease_until, status, answer)
        VALUES (v_scope, p_key, p_request_hash, v_now, 201, v_answer);
    END IF;
    RETURN jsonb_build_object('outcome', 'held', 'answer', v_answer);
END
$$;

-- What this request has been answered already: under the caller's key or, where it has none, by an earlier run of the
-- same call whose COMMIT was lost on the way. NULL where there is nothing (yet).
CREATE OR REPLACE FUNCTION known_answer(p_scope text, p_key text, p_request_hash text, p_reservation_id uuid)
RETURNS jsonb
LANGUAGE sql AS $$
    SELECT CASE
        WHEN request_hash <> p_request_hash THEN jsonb_build_object('outcome', 'idempotency-key-reused')
        ELSE jsonb_build_object('outcome', 'replayed', 'answer', answer)
    END
    FROM idempotency_keys WHERE scope = p_scope AND key = p_key
    UNION ALL
    SELECT jsonb_build_object('outcome', 'held', 'answer', reservation_answer(id)::text)
    FROM ticket_reservations WHERE id = p_reservation_id AND p_key IS NULL
$$;

-- Whether the slots could take these items, with what expired holds would give back.
CREATE OR REPLACE FUNCTION slots_can_take(p_items jsonb) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT bool_and(l.units_left >= (w ->> 'units')::integer AND l.bookings_left >= 1)
    FROM jsonb_array_elements(p_items) w
    JOIN slots_left(ARRAY(SELECT (x ->> 'slot_id')::uuid FROM jsonb_array_elements(p_items) x)) l
        ON l.slot_id = (w ->> 'slot_id')::uuid
$$;

-- Whether the slots, whose locks the caller holds, have room for these items as they stand.
CREATE OR REPLACE FUNCTION slots_have(p_items jsonb) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT bool_and(
        s.max_units - s.held_units - s.sold_units >= (w ->> 'units')::integer
        AND s.max_bookings - s.held_bookings - s.sold_bookings >= 1)
    FROM jsonb_array_elements(p_items) w JOIN slots s ON s.id = (w ->> 'slot_id')::uuid
$$;

CREATE OR REPLACE FUNCTION sold_out(p_slots uuid[]) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'outcome', 'sold-out',
        'left', (SELECT jsonb_agg(jsonb_build_object(
            'slot_id', l.slot_id, 'units_left', greatest(l.units_left, 0), 'bookings_left', greatest(l.bookings_left, 0)
        ) ORDER BY array_position(p_slots, l.slot_id)) FROM slots_left(p_slots) l),
        'waiting', (SELECT coalesce(jsonb_agg(waiting.id), '[]') FROM (
            SELECT r.id FROM ticket_reservations r JOIN payment_intents_log p ON p.id = r.payment_id
            WHERE r.status = 'active' AND r.expires_at <= now() AND p.lease_until <= now() AND p.next_ask_at <= now()
              AND coalesce(p.payment_intent_id, p.checkout_session_id) IS NOT NULL
              AND EXISTS (SELECT FROM reservation_items i WHERE i.reservation_id = r.id AND i.slot_id = ANY (p_slots) OFFSET 0)
            ORDER BY r.expires_at LIMIT 3
        ) waiting)
    )
$$;

-- Releases holds that are over and have no payment open, up to p_limit at a time. Answers how many.
CREATE OR REPLACE FUNCTION cleanup_expired_reservations(p_limit integer DEFAULT 500) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_expired uuid[] := ARRAY(
        SELECT id FROM ticket_reservations
        WHERE status = 'active' AND expires_at <= now() AND payment_id IS NULL
        ORDER BY expires_at LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    );
BEGIN
    IF cardinality(v_expired) > 0 THEN
        PERFORM lock_slots_of(v_expired);
        PERFORM release_holds(v_expired, 'expired');
    END IF;
    RETURN cardinality(v_expired);
END
$$;

CREATE OR REPLACE FUNCTION get_reservation_stats()
RETURNS TABLE (active bigint, expired bigint, completed bigint, cancelled bigint, oldest_active_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT
        count(*) FILTER (WHERE status = 'active'),
        count(*) FILTER (WHERE status = 'expired'),
        count(*) FILTER (WHERE status = 'completed'),
        count(*) FILTER (WHERE status = 'cancelled'),
        min(created_at) FILTER (WHERE status = 'active')
    FROM ticket_reservations
$$;
