-- Scheduled runs, and the one view that says whether every promise holds.

-- The run's row; those of the same job from more than a month ago are forgotten.
CREATE OR REPLACE FUNCTION finish_job(p_job text, p_request_id text, p_started_at timestamptz, p_result jsonb)
RETURNS void
LANGUAGE sql AS $$
    DELETE FROM job_runs WHERE job = p_job AND started_at < now() - interval '31 days';
    INSERT INTO job_runs (job, request_id, started_at, result) VALUES (p_job, p_request_id, p_started_at, p_result)
$$;

-- The keys that are past their 24 hours, with a margin for clients whose clocks are off.
CREATE OR REPLACE FUNCTION forget_old_idempotency_keys(p_limit integer DEFAULT 1000) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM idempotency_keys WHERE (scope, key) IN (
        SELECT scope, key FROM idempotency_keys
        WHERE created_at < now() - interval '48 hours' ORDER BY created_at LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    )
$$;

-- Buckets whose window is over.
CREATE OR REPLACE FUNCTION forget_old_rate_limits() RETURNS void
LANGUAGE sql AS $$
    DELETE FROM rate_limits WHERE ends_at < now()
$$;

-- Empty while the promises hold. Each row names what is broken, where, and how far.
CREATE OR REPLACE VIEW invariant_violations AS
WITH held AS (
    SELECT i.slot_id, sum(i.units) AS units, count(*) AS bookings
    FROM ticket_reservations r JOIN reservation_items i ON i.reservation_id = r.id
    WHERE r.status = 'active' GROUP BY i.slot_id
), sold AS (
    SELECT i.slot_id, sum(i.units) AS units, count(*) AS bookings
    FROM bookings b JOIN booking_items i ON i.booking_id = b.id
    WHERE b.status IN ('confirmed', 'frozen') GROUP BY i.slot_id
), refunded AS (
    -- failed: given up in the open, a person sends it. One that was made at Stripe and failed is Stripe's to tell.
    SELECT payment_id, sum(amount) FILTER (WHERE status IN ('pending', 'succeeded')) AS due,
           sum(amount) FILTER (WHERE status = 'succeeded') AS done,
           count(*) FILTER (WHERE status = 'failed' AND stripe_refund_id IS NULL) AS failed
    FROM refunds GROUP BY payment_id
), disputed AS (
    SELECT payment_id, bool_or(standing = 'open') AS open, bool_or(standing = 'lost') AS lost,
           bool_or(standing IN ('open', 'lost')) AS taken
    FROM disputes GROUP BY payment_id
), spent AS (
    SELECT booking_id, -sum(delta) FILTER (WHERE kind = 'spend') AS spent,
           sum(delta) FILTER (WHERE kind = 'return') AS returned
    FROM credit_entries WHERE booking_id IS NOT NULL GROUP BY booking_id
)
SELECT 'slot sells what it has' AS invariant, s.id::text AS subject_id,
       format('held %s + sold %s of %s units, held %s + sold %s of %s bookings', s.held_units, s.sold_units,
              s.max_units, s.held_bookings, s.sold_bookings, s.max_bookings) AS detail
FROM slots s
WHERE s.held_units + s.sold_units > s.max_units OR s.held_bookings + s.sold_bookings > s.max_bookings
UNION ALL
SELECT 'slot counts its holds', s.id::text,
       format('says %s units in %s holds, the holds say %s in %s', s.held_units, s.held_bookings,
              coalesce(h.units, 0), coalesce(h.bookings, 0))
FROM slots s LEFT JOIN held h ON h.slot_id = s.id
WHERE (s.held_units, s.held_bookings) IS DISTINCT FROM (coalesce(h.units, 0), coalesce(h.bookings, 0))
UNION ALL
SELECT 'slot counts its bookings', s.id::text,
       format('says %s units in %s bookings, the bookings say %s in %s', s.sold_units, s.sold_bookings,
              coalesce(b.units, 0), coalesce(b.bookings, 0))
FROM slots s LEFT JOIN sold b ON b.slot_id = s.id
WHERE (s.sold_units, s.sold_bookings) IS DISTINCT FROM (coalesce(b.units, 0), coalesce(b.bookings, 0))
UNION ALL
SELECT 'money ends in a booking, a refund or a dispute', p.id::text,
       format('%s %s captured', p.captured_amount, p.currency)
FROM payment_intents_log p
LEFT JOIN bookings b ON b.payment_id = p.id
LEFT JOIN refunded f ON f.payment_id = p.id
LEFT JOIN disputed d ON d.payment_id = p.id
WHERE p.captured_amount > 0 AND (b.id IS NULL OR b.status = 'revoked') AND d.taken IS NOT TRUE
  AND coalesce(f.due, 0) < p.captured_amount AND coalesce(f.failed, 0) = 0
UNION ALL
SELECT 'a refund that waits is asked for, unless a dispute has the money', f.id::text, format('%s of %s', f.amount, p.id)
FROM refunds f
JOIN payment_intents_log p ON p.id = f.payment_id
LEFT JOIN disputed d ON d.payment_id = p.id
LEFT JOIN outbox o ON o.dedupe_key = 'refund:' || f.id
WHERE f.status = 'pending' AND f.stripe_refund_id IS NULL AND (d.taken IS TRUE OR o.status IS DISTINCT FROM 'pending')
UNION ALL
SELECT 'a booking is frozen while a dispute is open, and a lost one revokes it', b.id::text, b.status
FROM bookings b LEFT JOIN disputed d ON d.payment_id = b.payment_id
WHERE b.status IN ('confirmed', 'frozen')
  AND (d.lost IS TRUE OR (b.status = 'frozen') <> coalesce(d.open, false))
UNION ALL
SELECT 'a paid booking says what became of its money', b.id::text, b.payment_status
FROM bookings b
JOIN payment_intents_log p ON p.id = b.payment_id
LEFT JOIN refunded f ON f.payment_id = p.id
LEFT JOIN disputed d ON d.payment_id = p.id
WHERE b.payment_status <> CASE
    WHEN d.taken THEN 'disputed'
    WHEN f.done >= p.captured_amount THEN 'refunded'
    WHEN f.done > 0 THEN 'partially_refunded'
    ELSE 'paid'
END
UNION ALL
-- Within the step of any currency. What was given up in the open is a person's to send.
SELECT 'a cancelled booking gives its share back', b.id::text,
       format('%s%% of %s %s and %s credits', b.refundable_percent, b.amount, b.currency, b.credits)
FROM bookings b
LEFT JOIN refunded f ON f.payment_id = b.payment_id
LEFT JOIN disputed d ON d.payment_id = b.payment_id
WHERE b.cancelled_at IS NOT NULL AND (
    (b.payment_id IS NOT NULL AND d.taken IS NOT TRUE AND coalesce(f.failed, 0) = 0
        AND b.amount * b.refundable_percent / 100 - coalesce(f.due, 0) >= 100)
    OR b.credits::bigint * b.refundable_percent / 100 <> (
        SELECT coalesce(sum(delta), 0) FROM credit_entries WHERE booking_id = b.id AND kind = 'return')
)
UNION ALL
SELECT 'refunds never exceed what was paid', p.id::text, format('%s of %s', f.due, p.captured_amount)
FROM payment_intents_log p JOIN refunded f ON f.payment_id = p.id
WHERE f.due > p.captured_amount
UNION ALL
SELECT 'a paid booking has its payment', b.id::text, format('%s captured', coalesce(p.captured_amount, 0))
FROM bookings b LEFT JOIN payment_intents_log p ON p.id = b.payment_id
WHERE b.payment_method = 'pay_now' AND coalesce(p.captured_amount, 0) = 0
UNION ALL
SELECT 'a completed reservation has a booking', r.id::text, r.status
FROM ticket_reservations r LEFT JOIN bookings b ON b.reservation_id = r.id
WHERE (r.status = 'completed') <> (b.id IS NOT NULL)
UNION ALL
SELECT 'seats go only after their payment is closed', r.id::text, format('%s, payment %s is open', r.status, p.id)
FROM ticket_reservations r JOIN payment_intents_log p ON p.reservation_id = r.id
WHERE r.status IN ('expired', 'cancelled') AND p.canceled_at IS NULL AND p.captured_amount = 0
UNION ALL
SELECT 'a balance is the sum of its entries', u.user_id,
       format('says %s, the entries %s', u.balance, coalesce(e.credits, 0))
FROM user_credits u
LEFT JOIN (SELECT user_id, sum(delta) AS credits FROM credit_entries GROUP BY user_id) e ON e.user_id = u.user_id
WHERE u.balance <> coalesce(e.credits, 0)
UNION ALL
SELECT 'what remains of a grant is the sum of its entries', g.id::text,
       format('says %s of %s, the entries %s', g.remaining, g.amount, coalesce(e.credits, 0))
FROM credit_grants g
LEFT JOIN (SELECT grant_id, sum(delta) AS credits FROM credit_entries GROUP BY grant_id) e ON e.grant_id = g.id
WHERE g.remaining <> coalesce(e.credits, 0)
UNION ALL
SELECT 'a booking has spent its credits, and says what became of them', b.id::text,
       format('%s, %s: %s spent of %s, %s returned', b.status, b.payment_status, coalesce(c.spent, 0), b.credits,
              coalesce(c.returned, 0))
FROM bookings b LEFT JOIN spent c ON c.booking_id = b.id
WHERE coalesce(c.spent, 0) <> b.credits OR (c.returned > 0 AND b.status <> 'cancelled')
   OR (b.payment_method = 'credits' AND b.payment_status <> CASE
       WHEN c.returned >= c.spent THEN 'refunded' WHEN c.returned > 0 THEN 'partially_refunded' ELSE 'paid' END);

GRANT SELECT ON invariant_violations TO app;
