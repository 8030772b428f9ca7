-- One story: all that became of a reservation, by any id that somebody has of it.

-- The reservation that an id belongs to: its own, of its payment, booking, refund or dispute, or Stripe's of an intent, a
-- session, a refund, a dispute or an event. NULL: nobody here knows the id, or only an event that is about nothing of ours.
CREATE OR REPLACE FUNCTION reservation_of(p_id text) RETURNS uuid
LANGUAGE sql STABLE AS $$
    WITH ours (id) AS (
        SELECT CASE WHEN p_id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN p_id::uuid END
    ), of_payment (id) AS (
        SELECT id FROM ours
        UNION ALL SELECT id FROM payment_intents_log WHERE p_id IN (payment_intent_id, checkout_session_id)
        UNION ALL SELECT payment_id FROM refunds WHERE id = (SELECT id FROM ours) OR stripe_refund_id = p_id
        UNION ALL SELECT payment_id FROM disputes WHERE id = (SELECT id FROM ours) OR stripe_dispute_id = p_id
        UNION ALL SELECT coalesce(payment_id, payment_of_event(payload)) FROM webhook_events_log WHERE event_id = p_id
    )
    SELECT reservation_id FROM payment_intents_log WHERE id IN (SELECT id FROM of_payment)
    UNION ALL SELECT reservation_id FROM bookings WHERE id = (SELECT id FROM ours)
    UNION ALL SELECT id FROM ticket_reservations WHERE id = (SELECT id FROM ours)
    LIMIT 1
$$;

-- What an entry of the audit says, in a few words; NULL where another entry says it already.
CREATE OR REPLACE FUNCTION audit_words(e booking_audit_log) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE e.table_name || ' ' || e.action_type
        WHEN 'ticket_reservations insert' THEN 'seats held'
        WHEN 'ticket_reservations update' THEN 'hold ' || (n ->> 'status')
        WHEN 'payment_intents_log insert' THEN CASE
            WHEN n ->> 'idempotency_key' LIKE 'found:%' THEN 'second payment found at Stripe' ELSE 'payment begun' END
        WHEN 'payment_intents_log update' THEN CASE
            WHEN n -> 'captured_amount' <> o -> 'captured_amount' THEN 'paid'
            WHEN n -> 'refunded_amount' <> o -> 'refunded_amount' THEN 'money has gone back'
            WHEN n -> 'disputed_at' <> o -> 'disputed_at' THEN 'payment disputed'
            WHEN n -> 'canceled_at' <> o -> 'canceled_at' THEN 'payment cancelled'
            WHEN n -> 'funds_awaited_at' <> o -> 'funds_awaited_at' THEN 'money is on its way'
            WHEN n -> 'key_number' <> o -> 'key_number' THEN 'Stripe asked under another key'
            WHEN (n -> 'payment_intent_id', n -> 'checkout_session_id')
                <> (o -> 'payment_intent_id', o -> 'checkout_session_id') THEN 'payment made at Stripe'
            ELSE 'payment ' || (n ->> 'status') END
        WHEN 'bookings insert' THEN 'booked'
        WHEN 'bookings update' THEN CASE
            WHEN n -> 'status' <> o -> 'status' THEN 'booking ' || (n ->> 'status')
            WHEN n -> 'payment_status' <> o -> 'payment_status' THEN 'booking ' || (n ->> 'payment_status')
            ELSE 'booking changed' END
        WHEN 'booking_items update' THEN 'moved to another slot'
        WHEN 'refunds insert' THEN 'refund asked for'
        WHEN 'refunds update' THEN CASE
            WHEN n -> 'status' <> o -> 'status' THEN 'refund ' || (n ->> 'status')
            WHEN n -> 'stripe_refund_id' <> o -> 'stripe_refund_id' THEN 'refund made at Stripe'
            ELSE 'refund under way' END
        WHEN 'disputes insert' THEN 'dispute ' || (n ->> 'standing')
        WHEN 'disputes update' THEN 'dispute ' || (n ->> 'standing')
        WHEN 'credit_entries insert' THEN CASE n ->> 'kind' WHEN 'spend' THEN 'credits spent' ELSE 'credits returned' END
        WHEN 'booking_items insert' THEN NULL
        WHEN 'booking_add_ons insert' THEN NULL
        ELSE e.table_name || ' ' || e.action_type
    END
    FROM (SELECT e.old_values, e.new_values) AS written (o, n)
$$;

-- The whole story that an id belongs to, in order: what happened, when, by whom, for which request, and the money (in the
-- currency's minor unit), seats and credits in it. `subject` is the thing that it happened to, by Stripe's id where there is
-- one; `event_id` the event of Stripe's that brought it. Empty: the id is unknown. Nothing personal is in it.
CREATE OR REPLACE FUNCTION story_of(p_id text) RETURNS TABLE (
    at timestamptz, what text, who text, request_id text, amount bigint, currency text, seats integer, credits integer,
    subject text, event_id text, detail text
)
LANGUAGE sql STABLE AS $$
    WITH hold AS (
        SELECT r.id, r.currency, (SELECT sum(units) FROM reservation_items WHERE reservation_id = r.id)::integer AS seats
        FROM ticket_reservations r WHERE r.id = reservation_of(p_id)
    ), paid AS (
        SELECT id, coalesce(payment_intent_id, checkout_session_id, id::text) AS name
        FROM payment_intents_log WHERE reservation_id = (SELECT id FROM hold)
    ), booked AS (
        SELECT b.id, b.version FROM bookings b WHERE b.reservation_id = (SELECT id FROM hold)
    ), sent_back AS (
        SELECT id FROM refunds WHERE payment_id IN (SELECT id FROM paid)
    ), entries AS (
        SELECT * FROM booking_audit_log WHERE booking_id = (SELECT id FROM booked)
        UNION ALL
        SELECT * FROM booking_audit_log
        WHERE booking_id IS NULL AND table_name IN ('ticket_reservations', 'payment_intents_log')
          AND row_id IN (SELECT id FROM hold UNION ALL SELECT id FROM paid)
        UNION ALL
        SELECT * FROM booking_audit_log
        WHERE booking_id IS NULL AND table_name IN ('refunds', 'disputes')
          AND row_id IN (SELECT id FROM sent_back UNION ALL
                         SELECT id FROM disputes WHERE payment_id IN (SELECT id FROM paid))
    ), effects (dedupe_key) AS (
        SELECT 'booked:' || id FROM booked
        UNION ALL SELECT kind || ':' || id || ':' || v
        FROM booked, generate_series(1, version) v, unnest(ARRAY['cancelled', 'rescheduled']) kind
        UNION ALL SELECT 'could-not-be-seated:' || id FROM paid
        UNION ALL SELECT kind || ':' || id FROM sent_back, unnest(ARRAY['refund', 'refunded']) kind
    ), lines AS (
        SELECT e.created_at AS at, 1 AS after, e.id AS position, audit_words(e) AS what,
               concat_ws(' ', e.performed_by, nullif(e.performed_by_id, 'app')) AS who, e.request_id,
               CASE
                   WHEN e.table_name = 'payment_intents_log' AND audit_words(e) = 'paid'
                       THEN e.new_values ->> 'captured_amount'
                   WHEN e.table_name = 'payment_intents_log' AND audit_words(e) = 'money has gone back'
                       THEN e.new_values ->> 'refunded_amount'
                   WHEN e.action_type = 'insert' OR e.table_name IN ('refunds', 'disputes') THEN e.new_values ->> 'amount'
               END::bigint AS amount,
               CASE WHEN audit_words(e) ~ '^(seats held|booked|(hold|booking) (expired|cancelled|revoked))$'
                   THEN (SELECT h.seats FROM hold h) END AS seats,
               CASE WHEN e.table_name = 'credit_entries' THEN abs((e.new_values ->> 'delta')::integer) END AS credits,
               coalesce(
                   (SELECT name FROM paid WHERE id = e.row_id), e.new_values ->> 'stripe_refund_id',
                   e.new_values ->> 'stripe_dispute_id', e.row_id::text) AS subject,
               e.stripe_event_id AS event_id, e.reason AS detail
        FROM entries e WHERE audit_words(e) IS NOT NULL
        UNION ALL
        SELECT w.received_at, 0, 0, w.event_type || ' ' || w.status, 'stripe', w.request_id, NULL, NULL, NULL,
               coalesce((SELECT name FROM paid WHERE id = w.payment_id), w.event_id), w.event_id,
               concat_ws(', ', w.reason, w.last_error, 'deliveries ' || w.deliveries, 'tries ' || w.attempts)
        FROM webhook_events_log w WHERE w.event_id IN (
            SELECT p_id UNION SELECT event_id FROM webhook_events_log WHERE payment_id IN (SELECT id FROM paid))
        UNION ALL
        SELECT coalesce(o.delivered_at, o.created_at), 2, 0,
               concat_ws(' ', o.kind, o.payload ->> 'type', CASE o.status
                   WHEN 'pending' THEN 'waits' WHEN 'dead' THEN 'given up' ELSE o.status END),
               'system deliver-outbox', o.request_id, NULL, NULL, NULL, o.id::text, NULL,
               concat_ws(', ', o.last_error, 'tries ' || o.attempts)
        FROM outbox o
        WHERE o.dedupe_key IN (SELECT dedupe_key FROM effects) AND (o.kind, o.status) <> ('refund', 'delivered')
    )
    SELECT l.at, l.what, l.who, l.request_id, l.amount, CASE WHEN l.amount IS NOT NULL THEN h.currency END, l.seats,
           l.credits, l.subject, l.event_id, l.detail
    FROM (
        SELECT * FROM lines
        UNION ALL
        SELECT g."timestamp", 3, g.id, 'error: ' || g.error_message, coalesce(g.function_name, 'page'), g.request_id,
               NULL, NULL, NULL, g.fingerprint, NULL, g.severity
        FROM error_logs g WHERE g.request_id IN (SELECT request_id FROM lines)
    ) l LEFT JOIN hold h ON true
    ORDER BY l.at, l.after, l.position
$$;
