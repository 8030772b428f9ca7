-- A shop that has been open for years: as many rows as its settings say, loaded as the owner of the server, without
-- triggers and with the counts of slots as their holds and bookings have them.

SET session_replication_role = replica;
SET synchronous_commit = off;

CREATE TEMP TABLE size AS SELECT
    current_setting('bench.events')::integer AS events,
    current_setting('bench.holds')::integer AS holds,
    current_setting('bench.slots')::integer AS slots;

INSERT INTO offerings (id, slug, name, kind, unit_amount, currency, timezone)
SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'old-' || n, 'Old ' || n, 'ticket', 4500, 'eur',
       'Europe/Vienna'
FROM generate_series(1, 40) n;

-- An hour each, the past year and the next.
CREATE TEMP TABLE s AS SELECT n, gen_random_uuid() AS id, now() + (n - slots / 2) * interval '1 hour' / 12 AS starts_at
FROM size, generate_series(0, slots - 1) n;
CREATE TEMP TABLE c AS SELECT n, gen_random_uuid() AS id FROM size, generate_series(0, holds / 5) n;
INSERT INTO customers (id, email, name) SELECT id, 'customer' || n || '@example.com', 'Customer ' || n FROM c;

-- Of a hundred holds one is active (of which half are being paid), sixty are booked, the rest expired or cancelled.
CREATE TEMP TABLE h AS
SELECT n, gen_random_uuid() AS id, gen_random_uuid() AS payment_id,
       CASE WHEN n % 1000 = 0 THEN 'active' WHEN n % 100 < 60 THEN 'completed' WHEN n % 100 < 90 THEN 'expired'
            ELSE 'cancelled' END AS status,
       n % 100 < 70 AND n % 2000 <> 0 AS paid
FROM size, generate_series(0, holds - 1) n;

INSERT INTO ticket_reservations (
    id, customer_id, status, expires_at, ceiling_at, amount, currency, payment_id, created_at)
SELECT h.id, c.id, h.status,
       CASE WHEN h.status = 'active' THEN now() + interval '10 hours' ELSE now() - h.n * interval '1 minute' END,
       CASE WHEN h.status = 'active' THEN now() + interval '20 hours' ELSE now() - h.n * interval '1 minute' END,
       4500, 'eur', CASE WHEN h.paid AND h.status IN ('active', 'completed') THEN h.payment_id END,
       CASE WHEN h.status = 'active' THEN now() ELSE now() - h.n * interval '1 minute' END
FROM h JOIN c ON c.n = h.n / 5;
INSERT INTO reservation_items (reservation_id, slot_id, units, unit_amount)
SELECT h.id, s.id, 1, 4500 FROM size, h JOIN s ON s.n = h.n % (SELECT slots FROM size);
INSERT INTO payment_intents_log (
    id, reservation_id, mode, idempotency_key, payment_intent_id, amount, currency, parameters, status, status_at,
    captured_amount, canceled_at, lease_until, created_at)
SELECT payment_id, id, 'payment_intent', 'payment:' || payment_id || ':1', 'pi_' || replace(payment_id::text, '-', ''),
       4500, 'eur', '{"metadata": {}, "allowed_payment_method_types": ["card"]}',
       CASE status WHEN 'completed' THEN 'succeeded' WHEN 'active' THEN 'requires_payment_method' ELSE 'canceled' END,
       now() - n * interval '1 minute', CASE status WHEN 'completed' THEN 4500 ELSE 0 END,
       CASE WHEN status IN ('expired', 'cancelled') THEN now() END, now() - interval '1 minute',
       now() - n * interval '1 minute'
FROM h WHERE paid;

CREATE TEMP TABLE b AS SELECT n, id AS reservation_id, payment_id, gen_random_uuid() AS id FROM h WHERE status = 'completed';
INSERT INTO bookings (id, reservation_id, customer_id, payment_id, payment_method, payment_status, amount, currency)
SELECT b.id, b.reservation_id, c.id, b.payment_id, 'pay_now', 'paid', 4500, 'eur' FROM b JOIN c ON c.n = b.n / 5;
INSERT INTO booking_items (booking_id, slot_id, units, unit_amount)
SELECT b.id, s.id, 1, 4500 FROM b JOIN s ON s.n = b.n % (SELECT slots FROM size);
INSERT INTO outbox (kind, dedupe_key, payload, status, attempts, delivered_at)
SELECT 'notification', 'booked:' || id, jsonb_build_object('type', 'booked', 'booking_id', id), 'delivered', 1, now()
FROM b;
INSERT INTO booking_audit_log (booking_id, table_name, row_id, action_type, new_values, performed_by)
SELECT id, 'bookings', id, 'insert', jsonb_build_object('id', id), 'stripe' FROM b;
INSERT INTO idempotency_keys (scope, key, request_hash, lease_until, status, answer, created_at)
SELECT 'reservations:customer' || n / 5 || '@example.com', id::text, repeat('0', 64), now(), 201, '{}', now()
FROM h WHERE n < 50000;

INSERT INTO slots (id, offering_id, starts_at, ends_at, max_bookings, max_units, held_bookings, held_units, sold_bookings,
    sold_units)
SELECT s.id, ('00000000-0000-4000-8000-' || lpad(to_hex(1 + s.n % 40), 12, '0'))::uuid, s.starts_at,
       s.starts_at + interval '1 hour', 100, 100, count(h.n) FILTER (WHERE h.status = 'active'),
       count(h.n) FILTER (WHERE h.status = 'active'), count(h.n) FILTER (WHERE h.status = 'completed'),
       count(h.n) FILTER (WHERE h.status = 'completed')
FROM s LEFT JOIN h ON h.n % (SELECT slots FROM size) = s.n GROUP BY s.id, s.n, s.starts_at;

-- Most events of a shared account are other programs' affairs and kept without their payload.
DO $$
DECLARE
    v_indexes text[] := ARRAY(SELECT indexdef FROM pg_indexes WHERE tablename = 'webhook_events_log' AND indexname <> 'webhook_events_log_pkey');
    v_index text;
BEGIN
    FOR v_index IN SELECT indexname FROM pg_indexes WHERE tablename = 'webhook_events_log' AND indexname <> 'webhook_events_log_pkey' LOOP
        EXECUTE format('DROP INDEX %I', v_index);
    END LOOP;
    ALTER TABLE webhook_events_log DROP CONSTRAINT webhook_events_log_pkey;
    INSERT INTO webhook_events_log (event_id, event_type, status, attempts, payload, payment_id, received_at, processed_at)
    SELECT 'evt_' || md5(n::text), 'payment_intent.succeeded',
           CASE WHEN n % 10000 = 0 THEN 'parked' WHEN n % 100000 = 1 THEN 'quarantined' WHEN n % 10 < 4 THEN 'processed'
                WHEN n % 10 < 5 THEN 'stale' ELSE 'ignored' END,
           1, '{}', NULL, now() - n * interval '10 seconds', now() - n * interval '10 seconds'
    FROM size, generate_series(1, events) n;
    ALTER TABLE webhook_events_log ADD PRIMARY KEY (event_id);
    FOREACH v_index IN ARRAY v_indexes LOOP
        EXECUTE v_index;
    END LOOP;
END
$$;
