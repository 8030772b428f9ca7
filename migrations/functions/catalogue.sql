-- What is sold, changed by administrators: an offering with its add-ons as a whole, and the room of a single slot.
-- The offering's row is locked before its slots.

-- An offering as it is shown to those who change it.
CREATE OR REPLACE FUNCTION offering_answer(p_slug text) RETURNS json
LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'slug', o.slug, 'name', o.name, 'kind', o.kind, 'unit_amount', o.unit_amount, 'currency', o.currency,
        'credits_price', o.credits_price, 'timezone', o.timezone, 'pay_on_arrival', o.pay_on_arrival,
        'retired', o.retired_at IS NOT NULL,
        'add_ons', (
            SELECT coalesce(json_agg(json_build_object(
                'id', a.id, 'name', a.name, 'unit_amount', a.unit_amount) ORDER BY a.name), '[]')
            FROM add_ons a WHERE a.offering_id = o.id AND a.retired_at IS NULL),
        'version', o.version
    )
    FROM offerings o WHERE o.slug = p_slug
$$;

-- Makes the offering what p_offering says, its add-ons included; a new one without p_version, else the one of that
-- version. p_offering: {"name", "kind", "unit_amount", "currency", "credits_price", "timezone", "pay_on_arrival",
-- "retired", "add_ons": [{"id", "name", "unit_amount"}]}. An add-on without an id is the one of its name, or a new one;
-- those left out are sold no more. What has been held or sold keeps its price: it stands on its lines.
-- Answers {"outcome": ...}: created or changed with "answer"; precondition-required; version-conflict with "version";
-- offering-has-sales (it would be of another kind or currency); unknown-add-on; invalid-request with "errors".
CREATE OR REPLACE FUNCTION put_offering(p_slug text, p_offering jsonb, p_version integer, p_request_id text)
RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_wanted constant offerings := jsonb_populate_record(NULL::offerings, p_offering);
    v_retired constant boolean := (p_offering ->> 'retired')::boolean;
    v_offering offerings;
    v_add_ons jsonb;
BEGIN
    IF NOT is_timezone(v_wanted.timezone) THEN
        RETURN invalid_field('/timezone', 'Input should be a time zone of the IANA database');
    END IF;
    IF EXISTS (
        SELECT FROM jsonb_array_elements(p_offering -> 'add_ons') w
        WHERE w ->> 'id' IS NOT NULL AND NOT EXISTS (
            SELECT FROM add_ons a JOIN offerings o ON o.id = a.offering_id
            WHERE a.id = (w ->> 'id')::uuid AND o.slug = p_slug)
    ) THEN
        RETURN jsonb_build_object('outcome', 'unknown-add-on');
    END IF;
    IF p_version IS NULL THEN
        INSERT INTO offerings (
            slug, name, kind, unit_amount, currency, credits_price, timezone, pay_on_arrival, retired_at, request_id
        ) VALUES (
            p_slug, v_wanted.name, v_wanted.kind, v_wanted.unit_amount, v_wanted.currency, v_wanted.credits_price,
            v_wanted.timezone, v_wanted.pay_on_arrival, CASE WHEN v_retired THEN now() END, p_request_id
        ) ON CONFLICT (slug) DO NOTHING;
    END IF;
    SELECT * INTO v_offering FROM offerings WHERE slug = p_slug FOR NO KEY UPDATE;
    IF v_offering.request_id IS DISTINCT FROM p_request_id THEN
        IF p_version IS NULL THEN
            RETURN jsonb_build_object('outcome', 'precondition-required');
        ELSIF v_offering.version IS DISTINCT FROM p_version THEN
            RETURN jsonb_strip_nulls(jsonb_build_object('outcome', 'version-conflict', 'version', v_offering.version));
        END IF;
        IF (v_offering.kind, v_offering.currency) <> (v_wanted.kind, v_wanted.currency) THEN
            -- Whoever is holding looks at the currency again once they have the slots.
            PERFORM 1 FROM slots WHERE offering_id = v_offering.id ORDER BY id FOR NO KEY UPDATE;
            IF EXISTS (
                SELECT FROM slots s WHERE s.offering_id = v_offering.id AND (
                    s.held_bookings + s.sold_bookings > 0
                    OR EXISTS (SELECT FROM booking_items i WHERE i.slot_id = s.id))
            ) THEN
                RETURN jsonb_build_object('outcome', 'offering-has-sales');
            END IF;
        END IF;
        UPDATE offerings SET
            name = v_wanted.name, kind = v_wanted.kind, unit_amount = v_wanted.unit_amount,
            currency = v_wanted.currency, credits_price = v_wanted.credits_price, timezone = v_wanted.timezone,
            pay_on_arrival = v_wanted.pay_on_arrival, request_id = p_request_id,
            retired_at = CASE WHEN v_retired THEN coalesce(retired_at, now()) END
        WHERE id = v_offering.id;
    END IF;

    SELECT coalesce(jsonb_agg(jsonb_build_object(
        'id', coalesce(w.id, same.id, gen_random_uuid()), 'name', w.name, 'unit_amount', w.unit_amount)), '[]')
    INTO v_add_ons
    FROM jsonb_to_recordset(p_offering -> 'add_ons') AS w (id uuid, name text, unit_amount bigint)
    LEFT JOIN LATERAL (
        SELECT a.id FROM add_ons a
        WHERE w.id IS NULL AND a.offering_id = v_offering.id AND a.name = w.name AND NOT EXISTS (
            SELECT FROM jsonb_array_elements(p_offering -> 'add_ons') named WHERE (named ->> 'id')::uuid = a.id)
        ORDER BY a.retired_at DESC NULLS FIRST LIMIT 1
    ) same ON true;
    UPDATE add_ons SET retired_at = now()
    WHERE offering_id = v_offering.id AND retired_at IS NULL AND id NOT IN (
        SELECT (w ->> 'id')::uuid FROM jsonb_array_elements(v_add_ons) w);
    INSERT INTO add_ons AS a (id, offering_id, name, unit_amount)
    SELECT w.id, v_offering.id, w.name, w.unit_amount
    FROM jsonb_to_recordset(v_add_ons) AS w (id uuid, name text, unit_amount bigint)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, unit_amount = excluded.unit_amount, retired_at = NULL
    WHERE (a.name, a.unit_amount) <> (excluded.name, excluded.unit_amount) OR a.retired_at IS NOT NULL;
    RETURN jsonb_build_object(
        'outcome', CASE WHEN v_offering.version = 1 AND p_version IS NULL THEN 'created' ELSE 'changed' END,
        'answer', offering_answer(p_slug));
END
$$;

-- Ends an offering, of that version where one is named: deleted with its slots and add-ons where nothing of it was ever
-- held or sold, else retired. Answers {"outcome": ...}: deleted, retired; unknown-offering; version-conflict with
-- "version".
CREATE OR REPLACE FUNCTION delete_offering(p_slug text, p_version integer) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_offering offerings;
BEGIN
    -- No stronger: whoever has a slot and sells it there names the offering, and would wait for this while this waits for
    -- the slot.
    SELECT * INTO v_offering FROM offerings WHERE slug = p_slug FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('outcome', 'unknown-offering');
    ELSIF v_offering.version <> p_version THEN
        RETURN jsonb_build_object('outcome', 'version-conflict', 'version', v_offering.version);
    END IF;
    PERFORM 1 FROM slots WHERE offering_id = v_offering.id ORDER BY id FOR UPDATE;
    IF EXISTS (
        SELECT FROM slots s WHERE s.offering_id = v_offering.id AND (
            EXISTS (SELECT FROM reservation_items i WHERE i.slot_id = s.id)
            OR EXISTS (SELECT FROM booking_items i WHERE i.slot_id = s.id))
    ) THEN
        UPDATE offerings SET retired_at = now() WHERE id = v_offering.id AND retired_at IS NULL;
        RETURN jsonb_build_object('outcome', 'retired');
    END IF;
    DELETE FROM slots WHERE offering_id = v_offering.id;
    DELETE FROM add_ons WHERE offering_id = v_offering.id;
    DELETE FROM offerings WHERE id = v_offering.id;
    RETURN jsonb_build_object('outcome', 'deleted');
END
$$;

-- Gives a slot more or less room, but never less than it has held and sold; holds that are over count no more.
-- Answers {"outcome": ...}: changed with "answer"; unknown-slot; below-sold with what is held and sold.
CREATE OR REPLACE FUNCTION set_slot_capacity(p_slot_id uuid, p_max_bookings integer, p_max_units integer) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_expired constant uuid[] := ARRAY(
        SELECT r.id FROM ticket_reservations r
        WHERE r.status = 'active' AND r.expires_at <= now() AND r.payment_id IS NULL
          AND EXISTS (SELECT FROM reservation_items i WHERE i.reservation_id = r.id AND i.slot_id = p_slot_id OFFSET 0)
        FOR NO KEY UPDATE SKIP LOCKED
    );
    v_slots constant uuid[] := p_slot_id
        || ARRAY(SELECT slot_id FROM reservation_items WHERE reservation_id = ANY (v_expired));
    v_slot slots;
BEGIN
    PERFORM 1 FROM slots WHERE id = ANY (v_slots) ORDER BY id FOR NO KEY UPDATE;
    IF cardinality(v_expired) > 0 THEN
        PERFORM release_holds(v_expired, 'expired');
    END IF;
    SELECT * INTO v_slot FROM slots WHERE id = p_slot_id;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('outcome', 'unknown-slot');
    ELSIF v_slot.held_bookings + v_slot.sold_bookings > p_max_bookings
        OR v_slot.held_units + v_slot.sold_units > p_max_units
    THEN
        RETURN jsonb_build_object(
            'outcome', 'below-sold', 'held_bookings', v_slot.held_bookings, 'held_units', v_slot.held_units,
            'sold_bookings', v_slot.sold_bookings, 'sold_units', v_slot.sold_units);
    END IF;
    UPDATE slots SET max_bookings = p_max_bookings, max_units = p_max_units WHERE id = p_slot_id;
    RETURN jsonb_build_object('outcome', 'changed', 'answer', (
        SELECT json_build_object(
            'id', s.id, 'offering', o.slug, 'starts_at', rfc3339(s.starts_at), 'ends_at', rfc3339(s.ends_at),
            'max_bookings', s.max_bookings, 'max_units', s.max_units, 'held_bookings', s.held_bookings,
            'held_units', s.held_units, 'sold_bookings', s.sold_bookings, 'sold_units', s.sold_units,
            'is_legacy', s.is_legacy)
        FROM slots s JOIN offerings o ON o.id = s.offering_id WHERE s.id = p_slot_id));
END
$$;
