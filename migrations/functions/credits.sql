-- Credits: every change is an entry, written under the lock of the user's row in user_credits. That lock comes after
-- the payment, the reservation and the booking, and before the slots. The functions act as the owner: `app` may call
-- them, and cannot write a balance, a grant or an entry by itself.

-- What a user can spend now: what remains of the grants that have not expired. Until the clean-up has written off those
-- that have, the balance is more than this.
CREATE OR REPLACE FUNCTION credits_left(p_user_id text) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(remaining), 0) FROM credit_grants
    WHERE user_id = p_user_id AND (expires_at IS NULL OR expires_at > now())
$$;

-- Takes credits away, those that expire first before the others. False: there are not as many, and nothing is written.
CREATE OR REPLACE FUNCTION take_credits(
    p_user_id text, p_credits integer, p_kind text, p_booking_id uuid, p_reason text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM 1 FROM user_credits WHERE user_id = p_user_id FOR NO KEY UPDATE;
    -- No row, no lock: a first grant that commits from here on could be taken twice, and is not looked at.
    IF NOT FOUND OR (p_credits > 0 AND credits_left(p_user_id) >= p_credits) IS NOT TRUE THEN
        RETURN false;
    END IF;
    INSERT INTO credit_entries (user_id, grant_id, booking_id, kind, delta, reason)
    SELECT p_user_id, g.id, p_booking_id, p_kind, -least(g.remaining, p_credits - g.before), p_reason
    FROM (
        SELECT id, remaining,
               sum(remaining) OVER (ORDER BY expires_at NULLS LAST, created_at, id) - remaining AS before
        FROM credit_grants
        WHERE user_id = p_user_id AND remaining > 0 AND (expires_at IS NULL OR expires_at > now())
    ) g
    WHERE g.before < p_credits;
    RETURN true;
END
$$;

-- Pays a booking, which need not be there before the commit. False: there are not as many, and nothing is written.
CREATE OR REPLACE FUNCTION spend_credits(p_user_id text, p_credits integer, p_booking_id uuid, p_reason text)
RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT take_credits(p_user_id, p_credits, 'spend', p_booking_id, p_reason)
$$;

-- Gives credits that a booking has spent back to the grants that they came from, those that last longest first: they
-- expire when these do. No more than it has spent, and once; a second call changes nothing.
CREATE OR REPLACE FUNCTION return_credits(p_booking_id uuid, p_credits integer, p_reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM 1 FROM user_credits
    WHERE user_id IN (SELECT user_id FROM credit_entries WHERE booking_id = p_booking_id) FOR NO KEY UPDATE;
    INSERT INTO credit_entries (user_id, grant_id, booking_id, kind, delta, reason)
    SELECT s.user_id, s.grant_id, p_booking_id, 'return', least(s.spent, p_credits - s.before), p_reason
    FROM (
        SELECT e.user_id, e.grant_id, -e.delta AS spent,
               sum(-e.delta) OVER (ORDER BY g.expires_at DESC NULLS FIRST, g.created_at DESC, g.id) + e.delta AS before
        FROM credit_entries e JOIN credit_grants g ON g.id = e.grant_id
        WHERE e.booking_id = p_booking_id AND e.kind = 'spend'
    ) s
    WHERE s.before < p_credits
      AND NOT EXISTS (SELECT FROM credit_entries WHERE booking_id = p_booking_id AND kind = 'return');
END
$$;

-- Grants credits, or with a negative p_delta takes some away. The answer is kept for the caller under the key; a caller
-- without one makes one up, by which a second run of the same call finds the first.
-- Answers {"outcome": ...}: changed or replayed with "answer" (text); idempotency-key-reused; insufficient-credits;
-- invalid-request with "errors".
CREATE OR REPLACE FUNCTION grant_credits(
    p_user_id text, p_delta integer, p_expires_at timestamptz, p_reason text,
    p_caller text DEFAULT 'database', p_key text DEFAULT gen_random_uuid(), p_request_hash text DEFAULT ''
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    c_most constant integer := 1000000000;
    v_scope constant text := 'admin:' || p_caller;
    v_known idempotency_keys;
    v_grant uuid;
    v_refused jsonb;
    v_answer text;
BEGIN
    LOOP
        -- A second call under the key waits here for the first one's end.
        INSERT INTO idempotency_keys (scope, key, request_hash, lease_until)
        VALUES (v_scope, p_key, p_request_hash, now()) ON CONFLICT (scope, key) DO NOTHING;
        EXIT WHEN FOUND;
        SELECT * INTO v_known FROM idempotency_keys WHERE scope = v_scope AND key = p_key;
        CONTINUE WHEN NOT FOUND;  -- forgotten between the two, because it was old: it is new again
        IF v_known.request_hash <> p_request_hash THEN
            RETURN jsonb_build_object('outcome', 'idempotency-key-reused');
        END IF;
        RETURN jsonb_build_object('outcome', 'replayed', 'answer', v_known.answer);
    END LOOP;
    IF p_delta < 0 THEN
        IF NOT take_credits(p_user_id, -p_delta, 'deduct', NULL, p_reason) THEN
            v_refused := jsonb_build_object('outcome', 'insufficient-credits');
        END IF;
    ELSIF p_expires_at <= now() THEN
        v_refused := invalid_field('/expires_at', 'Input should be in the future');
    ELSE
        INSERT INTO user_credits (user_id) VALUES (p_user_id) ON CONFLICT (user_id) DO NOTHING;
        PERFORM 1 FROM user_credits WHERE user_id = p_user_id FOR NO KEY UPDATE;
        IF (SELECT balance FROM user_credits WHERE user_id = p_user_id) > c_most - p_delta THEN
            v_refused := invalid_field('/delta', format('Nobody may have more than %s credits', c_most));
        ELSE
            INSERT INTO credit_grants (user_id, amount, expires_at) VALUES (p_user_id, p_delta, p_expires_at)
            RETURNING id INTO v_grant;
            INSERT INTO credit_entries (user_id, grant_id, kind, delta, reason)
            VALUES (p_user_id, v_grant, 'grant', p_delta, p_reason);
        END IF;
    END IF;
    IF v_refused IS NOT NULL THEN
        DELETE FROM idempotency_keys WHERE scope = v_scope AND key = p_key;
        RETURN v_refused;
    END IF;
    v_answer := json_build_object('balance', credits_left(p_user_id))::text;
    UPDATE idempotency_keys SET status = 201, answer = v_answer WHERE scope = v_scope AND key = p_key;
    RETURN jsonb_build_object('outcome', 'changed', 'answer', v_answer);
END
$$;

-- Writes off what remains of up to p_limit grants that have expired; answers how many credits that were (2147483647: so many,
-- or more). A user whose credits somebody is at work on has their turn in the next run.
CREATE OR REPLACE FUNCTION expire_credits(p_limit integer DEFAULT 500) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_users text[] := ARRAY(
        SELECT user_id FROM user_credits
        WHERE user_id IN (
            SELECT user_id FROM credit_grants WHERE remaining > 0 AND expires_at <= now()
            ORDER BY expires_at LIMIT p_limit)
        FOR NO KEY UPDATE SKIP LOCKED
    );
    v_expired integer;
BEGIN
    WITH expired AS (
        INSERT INTO credit_entries (user_id, grant_id, kind, delta, reason)
        SELECT user_id, id, 'expire', -remaining, 'expired' FROM credit_grants
        WHERE user_id = ANY (v_users) AND remaining > 0 AND expires_at <= now()
        RETURNING delta
    )
    SELECT least(coalesce(-sum(delta), 0), 2147483647) INTO v_expired FROM expired;
    RETURN v_expired;
END
$$;

-- Whoever may not touch the tables may not touch them by these either.
REVOKE EXECUTE ON FUNCTION
    take_credits(text, integer, text, uuid, text),
    spend_credits(text, integer, uuid, text),
    return_credits(uuid, integer, text),
    grant_credits(text, integer, timestamptz, text, text, text, text),
    expire_credits(integer)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    spend_credits(text, integer, uuid, text),
    return_credits(uuid, integer, text),
    grant_credits(text, integer, timestamptz, text, text, text, text),
    expire_credits(integer)
TO app;
