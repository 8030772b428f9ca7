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
