-- Paying for a hold, and ending one whose payment only Stripe can end. Stripe is asked between these functions, never
-- inside: each is one round trip and one commit.

-- What the functions need to know of a payment to go on with it.
CREATE OR REPLACE FUNCTION payment_view(p_payment_id uuid) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'id', p.id, 'reservation_id', p.reservation_id, 'mode', p.mode, 'idempotency_key', p.idempotency_key,
        'payment_intent_id', p.payment_intent_id, 'checkout_session_id', p.checkout_session_id,
        'amount', p.amount, 'currency', p.currency, 'parameters', p.parameters, 'status', p.status,
        'created_at', extract(epoch FROM p.created_at),
        'age_seconds', extract(epoch FROM clock_timestamp() - p.created_at), 'attempt', p.attempt,
        'captured_amount', p.captured_amount, 'canceled', p.canceled_at IS NOT NULL,
        'expires_at', rfc3339(r.expires_at), 'past_ceiling', greatest(r.ceiling_at, r.expires_at) <= now(),
        'closing_as', r.closing_as, 'funds_awaited', p.funds_awaited_at IS NOT NULL,
        'known', p.payment_intent_id IS NOT NULL OR p.checkout_session_id IS NOT NULL
    )
    FROM payment_intents_log p JOIN ticket_reservations r ON r.id = p.reservation_id WHERE p.id = p_payment_id
$$;

-- The first step of paying: claims the caller's key and the payment's lease, checks the hold, extends it to the
-- payment window and writes the payment's row.
--
-- p_payment_id names the payment if a new one is needed, and the call: made again after a lost COMMIT it takes up
-- its own lease. p_chargeable: {"usd": [minimum, maximum, step], ...}. Answers {"outcome": ...}: create (a new
-- payment, or one whose last owner's lease is over: ask Stripe to create it), fetch (it is there: ask Stripe for it),
-- each with "payment" and "key_attempt"; replayed with "answer" and "payment"; or the problem's slug.
CREATE OR REPLACE FUNCTION begin_payment(
    p_payment_id uuid,
    p_reservation_id uuid,
    p_mode text,
    p_parameters jsonb,
    p_chargeable jsonb,
    p_window interval,
    p_lease interval,
    p_expected_amount bigint DEFAULT NULL,
    p_expected_currency text DEFAULT NULL,
    p_key text DEFAULT NULL,
    p_request_hash text DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_scope constant text := 'create-payment-intent:' || p_reservation_id;
    v_now timestamptz;
    v_key idempotency_keys;
    v_payment payment_intents_log;
    v_hold ticket_reservations;
    v_limits jsonb;
    v_outcome text;
BEGIN
    SELECT * INTO v_payment FROM payment_intents_log
    WHERE reservation_id = p_reservation_id AND canceled_at IS NULL FOR NO KEY UPDATE;
    SELECT * INTO v_hold FROM ticket_reservations WHERE id = p_reservation_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('outcome', 'unknown-reservation');
    END IF;
    IF v_payment.id IS NULL AND v_hold.payment_id IS NOT NULL THEN
        -- Another call wrote its payment while this one waited for the hold: it is at Stripe now.
        RETURN jsonb_build_object('outcome', 'request-in-progress');
    END IF;
    v_now := clock_timestamp();

    -- The hold's lock is also the lock of its keys: two calls under one key cannot both pass here.
    IF p_key IS NOT NULL THEN
        SELECT * INTO v_key FROM idempotency_keys WHERE scope = v_scope AND key = p_key;
        IF FOUND AND v_key.request_hash <> p_request_hash THEN
            RETURN jsonb_build_object('outcome', 'idempotency-key-reused');
        ELSIF FOUND AND v_key.answer IS NOT NULL THEN
            RETURN jsonb_build_object('outcome', 'replayed', 'status', v_key.status, 'answer', v_key.answer, 'payment', (
                SELECT payment_view(id) FROM payment_intents_log
                WHERE id = (v_key.answer::jsonb ->> 'payment_id')::uuid));
        END IF;
    END IF;

    v_outcome := CASE
        WHEN v_payment.captured_amount > 0 OR v_hold.status = 'completed' THEN 'already-paid'
        WHEN v_hold.status = 'cancelled' OR v_hold.closing_as = 'cancelled' THEN 'reservation-cancelled'
        WHEN v_hold.status = 'expired' OR v_hold.closing_as = 'expired' OR v_hold.expires_at <= v_now
            THEN 'reservation-expired'
        WHEN v_hold.amount = 0 THEN 'nothing-to-pay'
        WHEN v_hold.amount <> p_expected_amount OR v_hold.currency <> p_expected_currency THEN 'amount-mismatch'
        WHEN (v_payment.lease_owner = p_payment_id::text) IS NOT TRUE AND v_payment.lease_until > v_now
            THEN 'request-in-progress'
        -- It is being booked by other means, once its payment is closed; if that comes to nothing, it can be paid again.
        WHEN v_hold.closing_as = 'completed' THEN 'request-in-progress'
        WHEN v_payment.mode <> p_mode THEN 'payment-in-progress'
    END;
    IF v_outcome IS NULL THEN
        v_limits := p_chargeable -> v_hold.currency;
        IF v_limits IS NULL
            OR v_hold.amount NOT BETWEEN (v_limits ->> 0)::bigint AND (v_limits ->> 1)::bigint
            OR v_hold.amount % (v_limits ->> 2)::bigint <> 0
        THEN
            v_outcome := 'amount-not-chargeable';
        END IF;
    END IF;
    IF v_outcome IS NOT NULL THEN
        RETURN jsonb_build_object('outcome', v_outcome);
    END IF;

    IF v_payment.id IS NULL THEN
        INSERT INTO payment_intents_log (
            id, reservation_id, mode, idempotency_key, amount, currency, parameters, lease_until, lease_owner
        ) VALUES (
            p_payment_id, p_reservation_id, p_mode, 'payment:' || p_payment_id || ':1', v_hold.amount,
            v_hold.currency, p_parameters, v_now + p_lease, p_payment_id
        ) RETURNING * INTO v_payment;
        v_outcome := 'create';
    ELSE
        UPDATE payment_intents_log
        SET attempt = attempt + 1, lease_until = v_now + p_lease, lease_owner = p_payment_id
        WHERE id = v_payment.id;
        v_outcome := CASE
            WHEN coalesce(v_payment.payment_intent_id, v_payment.checkout_session_id) IS NULL THEN 'create'
            ELSE 'fetch'
        END;
    END IF;
    UPDATE ticket_reservations
    SET payment_id = v_payment.id, expires_at = greatest(expires_at, least(ceiling_at, v_now + p_window))
    WHERE id = p_reservation_id;
    IF p_key IS NOT NULL THEN
        INSERT INTO idempotency_keys AS k (scope, key, request_hash, lease_until)
        VALUES (v_scope, p_key, p_request_hash, v_now + p_lease)
        ON CONFLICT (scope, key) DO UPDATE SET attempt = k.attempt + 1, lease_until = excluded.lease_until
        RETURNING attempt INTO v_key.attempt;
    END IF;
    RETURN jsonb_build_object(
        'outcome', v_outcome, 'payment', payment_view(v_payment.id), 'key_attempt', v_key.attempt);
END
$$;

-- The last step of paying: records what Stripe answered, and the caller's answer under its key, if the payment is
-- still this owner's. Answers recorded; superseded (somebody else goes on with it); or, where the hold is being ended or
-- has ended, what it becomes: the owner then keeps the lease and must close the payment at Stripe as well.
CREATE OR REPLACE FUNCTION record_payment(
    p_payment_id uuid,
    p_attempt integer,
    p_payment_intent_id text,
    p_checkout_session_id text,
    p_status text,
    p_key text DEFAULT NULL,
    p_key_attempt integer DEFAULT NULL,
    p_key_status integer DEFAULT NULL,
    p_answer text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_payment payment_intents_log;
    v_hold ticket_reservations;
    v_closed boolean;
BEGIN
    SELECT * INTO v_payment FROM payment_intents_log WHERE id = p_payment_id FOR NO KEY UPDATE;
    IF v_payment.attempt <> p_attempt THEN
        RETURN 'superseded';
    END IF;
    SELECT * INTO v_hold FROM ticket_reservations WHERE id = v_payment.reservation_id FOR NO KEY UPDATE;
    v_closed := v_payment.captured_amount = 0 AND (
        v_hold.closing_at IS NOT NULL OR v_hold.status <> 'active' OR v_payment.canceled_at IS NOT NULL);
    UPDATE payment_intents_log SET
        payment_intent_id = coalesce(payment_intent_id, p_payment_intent_id),
        checkout_session_id = coalesce(checkout_session_id, p_checkout_session_id),
        status = CASE WHEN captured_amount = 0 AND canceled_at IS NULL THEN p_status ELSE status END,
        lease_until = CASE WHEN v_closed THEN lease_until ELSE clock_timestamp() END
    WHERE id = p_payment_id;
    IF v_closed THEN
        RETURN coalesce(v_hold.closing_as, v_hold.status);
    END IF;
    IF p_key IS NOT NULL THEN
        UPDATE idempotency_keys SET status = p_key_status, answer = p_answer, lease_until = clock_timestamp()
        WHERE scope = 'create-payment-intent:' || v_hold.id AND key = p_key AND attempt = p_key_attempt;
    END IF;
    RETURN 'recorded';
END
$$;

-- Takes the next key for a payment whose present key Stripe answers with a stored failure. NULL: no longer the owner.
CREATE OR REPLACE FUNCTION take_next_payment_key(p_payment_id uuid, p_attempt integer) RETURNS text
LANGUAGE sql AS $$
    UPDATE payment_intents_log
    SET key_number = key_number + 1, idempotency_key = 'payment:' || id || ':' || (key_number + 1)
    WHERE id = p_payment_id AND attempt = p_attempt
    RETURNING idempotency_key
$$;

-- Stripe has not said what became of the payment. The lease ends, so that the next caller goes on from here.
CREATE OR REPLACE FUNCTION leave_payment_unknown(p_payment_id uuid, p_attempt integer) RETURNS void
LANGUAGE sql AS $$
    UPDATE payment_intents_log SET
        status = CASE
            WHEN coalesce(payment_intent_id, checkout_session_id) IS NULL THEN 'unknown'
            ELSE status
        END,
        lease_until = clock_timestamp()
    WHERE id = p_payment_id AND attempt = p_attempt
$$;

-- Ends a hold for its buyer: at once where no payment is open, else marks it as closing and takes the payment's lease.
-- Answers {"outcome": ...}: closed; already-paid; close with "payment" (Stripe has to be asked, then finish_close or
-- keep_payment); in-progress (somebody is at Stripe with it: it will see that the hold is closing); unknown-reservation.
CREATE OR REPLACE FUNCTION begin_close(p_reservation_id uuid, p_as text, p_lease interval) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_call constant text := nullif(current_setting('holdfast.context', true), '')::jsonb ->> 'request_id';
    v_payment payment_intents_log;
    v_hold ticket_reservations;
    v_now timestamptz;
BEGIN
    SELECT * INTO v_payment FROM payment_intents_log
    WHERE reservation_id = p_reservation_id AND canceled_at IS NULL FOR NO KEY UPDATE;
    SELECT * INTO v_hold FROM ticket_reservations WHERE id = p_reservation_id FOR NO KEY UPDATE;
    v_now := clock_timestamp();
    IF NOT FOUND THEN
        RETURN jsonb_build_object('outcome', 'unknown-reservation');
    ELSIF v_hold.status = 'completed' OR v_payment.captured_amount > 0 THEN
        RETURN jsonb_build_object('outcome', 'already-paid');
    ELSIF v_hold.status = 'expired' THEN
        -- Its seats are gone already; what its buyer said decides about money that still comes.
        UPDATE ticket_reservations SET status = p_as WHERE id = p_reservation_id AND p_as = 'cancelled';
        RETURN jsonb_build_object('outcome', 'closed');
    ELSIF v_hold.status = 'cancelled' THEN
        RETURN jsonb_build_object('outcome', 'closed');
    ELSIF v_hold.payment_id IS NULL THEN
        PERFORM lock_slots_of(ARRAY[p_reservation_id]);
        PERFORM release_holds(ARRAY[p_reservation_id], p_as);
        RETURN jsonb_build_object('outcome', 'closed');
    END IF;
    UPDATE ticket_reservations
    SET closing_at = coalesce(closing_at, v_now), closing_as = p_as
    WHERE id = p_reservation_id;
    IF v_payment.id IS NULL OR (v_payment.lease_until > v_now AND (v_payment.lease_owner = v_call) IS NOT TRUE) THEN
        RETURN jsonb_build_object('outcome', 'in-progress');
    END IF;
    UPDATE payment_intents_log SET attempt = attempt + 1, lease_until = v_now + p_lease, lease_owner = v_call
    WHERE id = v_payment.id;
    RETURN jsonb_build_object('outcome', 'close', 'payment', payment_view(v_payment.id));
END
$$;

-- Takes the leases of payments that have to be closed: open, not asked lately, and their hold is over (or gone by
-- other means). Marks the holds as closing. SKIP LOCKED: two cleanups, or a payment at work, never wait for each other.
CREATE OR REPLACE FUNCTION claim_payments_to_close(p_limit integer, p_lease interval, p_reservations uuid[] DEFAULT NULL)
RETURNS SETOF jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_payments uuid[];
    v_holds uuid[];
BEGIN
    v_payments := ARRAY(
        SELECT p.id FROM payment_intents_log p JOIN ticket_reservations r ON r.id = p.reservation_id
        WHERE p.canceled_at IS NULL AND p.captured_amount = 0
          AND p.next_ask_at <= now() AND p.lease_until <= now()
          AND (r.status <> 'active' OR r.closing_at IS NOT NULL OR r.expires_at <= now())
          AND (p_reservations IS NULL OR r.id = ANY (p_reservations))
        ORDER BY p.next_ask_at LIMIT p_limit
        FOR NO KEY UPDATE OF p SKIP LOCKED
    );
    v_holds := ARRAY(
        SELECT r.id FROM ticket_reservations r
        WHERE r.id IN (SELECT reservation_id FROM payment_intents_log WHERE id = ANY (v_payments))
          AND (r.status <> 'active' OR r.closing_at IS NOT NULL OR r.expires_at <= clock_timestamp())
        FOR NO KEY UPDATE SKIP LOCKED
    );
    UPDATE ticket_reservations SET closing_at = clock_timestamp(), closing_as = 'expired'
    WHERE id = ANY (v_holds) AND status = 'active' AND closing_at IS NULL;
    RETURN QUERY
        WITH claimed AS (
            UPDATE payment_intents_log
            SET attempt = attempt + 1, lease_until = clock_timestamp() + p_lease, lease_owner = NULL
            WHERE id = ANY (v_payments) AND reservation_id = ANY (v_holds)
            RETURNING id, attempt
        )
        SELECT payment_view(id) || jsonb_build_object('attempt', attempt) FROM claimed;
END
$$;

-- Stripe has said that nothing can be paid any more: the payment is canceled, and a hold that was waiting for this, or
-- is over, gives its seats back. A hold that is neither, or is to be booked by other means, lives on without a payment.
CREATE OR REPLACE FUNCTION cancel_payment(p_payment_id uuid) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_hold ticket_reservations;
    v_ended_as text;
BEGIN
    UPDATE payment_intents_log
    SET canceled_at = coalesce(canceled_at, clock_timestamp()), status = 'canceled', lease_until = clock_timestamp()
    WHERE id = p_payment_id;
    SELECT r.* INTO v_hold FROM ticket_reservations r JOIN payment_intents_log p ON p.reservation_id = r.id
    WHERE p.id = p_payment_id FOR NO KEY UPDATE OF r;
    IF v_hold.status <> 'active' OR v_hold.payment_id IS DISTINCT FROM p_payment_id THEN
        RETURN v_hold.status;
    ELSIF v_hold.closing_as IN ('cancelled', 'expired') OR v_hold.expires_at <= clock_timestamp() THEN
        v_ended_as := CASE WHEN v_hold.closing_as = 'cancelled' THEN 'cancelled' ELSE 'expired' END;
        PERFORM lock_slots_of(ARRAY[v_hold.id]);
        PERFORM release_holds(ARRAY[v_hold.id], v_ended_as);
        RETURN v_ended_as;
    END IF;
    UPDATE ticket_reservations SET payment_id = NULL, closing_at = NULL, closing_as = NULL WHERE id = v_hold.id;
    RETURN 'active';
END
$$;

-- The end of a close that Stripe has agreed to. Answers what became of the hold, NULL where the lease was lost.
CREATE OR REPLACE FUNCTION finish_close(p_payment_id uuid, p_attempt integer) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM payment_intents_log WHERE id = p_payment_id AND attempt = p_attempt FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN cancel_payment(p_payment_id);
END
$$;

-- The end of a close that Stripe has not settled: the hold keeps its seats, and Stripe is asked again after p_wait. Money
-- that is on its way is waited for, unless its buyer wants the hold no more.
CREATE OR REPLACE FUNCTION keep_payment(
    p_payment_id uuid, p_attempt integer, p_awaits_funds boolean, p_wait interval, p_funds interval
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE payment_intents_log SET
        lease_until = clock_timestamp(),
        next_ask_at = clock_timestamp() + p_wait,
        funds_awaited_at = CASE WHEN p_awaits_funds THEN coalesce(funds_awaited_at, clock_timestamp())
                                ELSE funds_awaited_at END
    WHERE id = p_payment_id AND attempt = p_attempt;
    IF FOUND AND p_awaits_funds THEN
        UPDATE ticket_reservations r SET closing_at = NULL, closing_as = NULL
        FROM payment_intents_log p
        WHERE p.id = p_payment_id AND r.id = p.reservation_id AND r.status = 'active'
          AND r.closing_as IN ('expired', 'completed');
        PERFORM await_funds(p_payment_id, true, p_funds);
    END IF;
END
$$;
