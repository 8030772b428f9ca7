-- The audit's entries, the hash chain over them, and what is removed from it by age.

-- Writes an entry, as the owner: `app` cannot. Who acts has said so to the transaction; who has not is the role itself, and
-- an act that nobody need sign in for has no id.
CREATE OR REPLACE FUNCTION append_audit(
    p_table text, p_booking uuid, p_row uuid, p_action text, p_old jsonb, p_new jsonb
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_context jsonb := coalesce(nullif(current_setting('holdfast.context', true), ''), '{}')::jsonb;
BEGIN
    INSERT INTO booking_audit_log (
        booking_id, table_name, row_id, action_type, old_values, new_values, performed_by, performed_by_id,
        ip_address, user_agent, reason, request_id, stripe_event_id
    ) VALUES (
        p_booking, p_table, p_row, p_action, p_old, p_new,
        coalesce(v_context ->> 'actor', 'database'),
        CASE WHEN v_context ? 'actor' THEN v_context ->> 'actor_id' ELSE session_user END,
        coalesce(v_context ->> 'ip_address', host(inet_client_addr())), v_context ->> 'user_agent',
        v_context ->> 'reason', v_context ->> 'request_id', v_context ->> 'stripe_event_id'
    );
END
$$;

-- The trigger of every audited table. Its arguments, both arrays of column names: what is personal, and is kept as a
-- digest; what is left out, because it says nothing about value.
CREATE OR REPLACE FUNCTION audit_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_left_out constant text[] := coalesce(TG_ARGV[1], '{}')::text[];
    v_old jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - v_left_out END;
    v_new jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - v_left_out END;
    v_row constant jsonb := coalesce(v_new, v_old);
    v_context constant jsonb := coalesce(nullif(current_setting('holdfast.context', true), ''), '{}')::jsonb;
    v_id uuid;
    v_booking uuid;
    v_key audit_key;
    v_column text;
BEGIN
    IF jsonb_typeof(v_row -> 'id') = 'string' THEN
        v_id := (v_row ->> 'id')::uuid;
    END IF;
    IF TG_TABLE_NAME = 'bookings' THEN
        v_booking := v_id;
    ELSIF v_row ? 'booking_id' THEN
        v_booking := (v_row ->> 'booking_id')::uuid;
    ELSIF TG_TABLE_NAME = 'booking_add_ons' THEN
        v_id := (v_row ->> 'item_id')::uuid;
        SELECT booking_id INTO v_booking FROM booking_items WHERE id = v_id;
    ELSIF TG_TABLE_NAME = 'reservation_items' THEN
        SELECT id INTO v_booking FROM bookings WHERE reservation_id = (v_row ->> 'reservation_id')::uuid;
    ELSIF TG_TABLE_NAME = 'reservation_add_ons' THEN
        v_id := (v_row ->> 'item_id')::uuid;
        SELECT b.id INTO v_booking
        FROM reservation_items i JOIN bookings b ON b.reservation_id = i.reservation_id WHERE i.id = v_id;
    ELSIF v_row ? 'payment_id' THEN
        SELECT id INTO v_booking FROM bookings WHERE payment_id = (v_row ->> 'payment_id')::uuid;
    ELSIF TG_OP <> 'INSERT' AND TG_TABLE_NAME = 'payment_intents_log' THEN
        SELECT id INTO v_booking FROM bookings WHERE payment_id = v_id;
    ELSIF TG_OP <> 'INSERT' AND TG_TABLE_NAME = 'ticket_reservations' THEN
        SELECT id INTO v_booking FROM bookings WHERE reservation_id = v_id;
    END IF;
    IF TG_ARGV[0] <> '{}' THEN
        -- HMAC-SHA256: who has the key and a guess can tell whether it is right; nobody can read the value.
        SELECT * INTO v_key FROM audit_key;
        FOREACH v_column IN ARRAY TG_ARGV[0]::text[] LOOP
            v_old := jsonb_set_lax(v_old, ARRAY[v_column], to_jsonb('hmac-sha256:' || encode(sha256(
                v_key.outer_pad || sha256(v_key.inner_pad || convert_to(v_old ->> v_column, 'UTF8'))), 'hex')));
            v_new := jsonb_set_lax(v_new, ARRAY[v_column], to_jsonb('hmac-sha256:' || encode(sha256(
                v_key.outer_pad || sha256(v_key.inner_pad || convert_to(v_new ->> v_column, 'UTF8'))), 'hex')));
        END LOOP;
    END IF;
    -- As append_audit does, and not by it: a hold writes two of these.
    INSERT INTO booking_audit_log (
        booking_id, table_name, row_id, action_type, old_values, new_values, performed_by, performed_by_id,
        ip_address, user_agent, reason, request_id, stripe_event_id
    ) VALUES (
        v_booking, TG_TABLE_NAME, v_id, lower(TG_OP), v_old, v_new,
        coalesce(v_context ->> 'actor', 'database'),
        CASE WHEN v_context ? 'actor' THEN v_context ->> 'actor_id' ELSE session_user END,
        coalesce(v_context ->> 'ip_address', host(inet_client_addr())), v_context ->> 'user_agent',
        v_context ->> 'reason', v_context ->> 'request_id', v_context ->> 'stripe_event_id'
    );
    RETURN NULL;
END
$$;

-- An entry as it is sealed: every column, in a text that no setting of a session changes. scripts/verify_audit.py writes
-- it a second time, so as not to ask the database under suspicion how it would like to be checked.
CREATE OR REPLACE FUNCTION audit_text(l booking_audit_log) RETURNS text
LANGUAGE sql STABLE
RETURN jsonb_build_array(
    l.id, l.transaction_id::text, l.booking_id, l.table_name, l.row_id, l.action_type, l.old_values, l.new_values,
    l.performed_by, l.performed_by_id, l.ip_address, l.user_agent, l.reason, l.request_id, l.stripe_event_id,
    to_char(l.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')
)::text;

-- The chain's end: {position, hash}, of the last seal or, where all were removed, of the checkpoint.
CREATE OR REPLACE FUNCTION audit_head(OUT v_position bigint, OUT v_hash bytea)
LANGUAGE sql STABLE AS $$
    SELECT position, hash FROM audit_seals
    UNION ALL SELECT position, hash FROM audit_checkpoints
    UNION ALL SELECT 0, ''::bytea
    ORDER BY 1 DESC LIMIT 1
$$;

-- Seals up to p_limit entries, the oldest transactions first, and answers {"sealed", "head": "position:hash"}.
--
-- Only what is older than every transaction that is still open: nothing can come before it any more, so the order is
-- final, and nobody who writes is asked to wait. A transaction that stays open for long only delays. Two runs at once:
-- the second does nothing.
CREATE OR REPLACE FUNCTION seal_audit(p_limit integer) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    c_lock constant bigint := 4207849485;
    v_position bigint;
    v_hash bytea;
    v_entry record;
    v_last_transaction xid8;
    v_last_id bigint;
    v_sealed integer := 0;
BEGIN
    IF pg_try_advisory_xact_lock(c_lock) THEN
        SELECT * INTO v_position, v_hash FROM audit_head();
        SELECT l.transaction_id, l.id INTO v_last_transaction, v_last_id
        FROM audit_seals s JOIN booking_audit_log l ON l.id = s.entry_id WHERE s.position = v_position;
        -- A database that was loaded into another server counts its transactions anew: it is looked through from the
        -- first one on, and what the other server has left unsealed lies in its future.
        IF NOT FOUND OR v_last_transaction >= pg_snapshot_xmin(pg_current_snapshot()) THEN
            v_last_transaction := '0';
            v_last_id := 0;
        END IF;
        FOR v_entry IN
            (SELECT l.id, audit_text(l) AS text FROM booking_audit_log l
             WHERE l.transaction_id >= pg_snapshot_xmax(pg_current_snapshot())
               AND (SELECT s.position FROM audit_seals s WHERE s.entry_id = l.id) IS NULL
             ORDER BY l.transaction_id, l.id LIMIT p_limit)
            UNION ALL
            (SELECT l.id, audit_text(l) FROM booking_audit_log l
             WHERE (l.transaction_id, l.id) > (v_last_transaction, v_last_id)
               AND l.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
               AND (SELECT s.position FROM audit_seals s WHERE s.entry_id = l.id) IS NULL
             ORDER BY l.transaction_id, l.id LIMIT p_limit)
            LIMIT p_limit
        LOOP
            v_position := v_position + 1;
            v_hash := sha256(v_hash || convert_to(v_entry.text, 'UTF8'));
            INSERT INTO audit_seals (position, entry_id, hash) VALUES (v_position, v_entry.id, v_hash);
            v_sealed := v_sealed + 1;
        END LOOP;
    END IF;
    SELECT * INTO v_position, v_hash FROM audit_head();
    RETURN jsonb_build_object('sealed', v_sealed, 'head', v_position || ':' || encode(v_hash, 'hex'));
END
$$;
REVOKE EXECUTE ON FUNCTION seal_audit(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION seal_audit(integer) TO app;

-- Removes up to p_limit entries that are older than p_keep, a year at least, together with their seals, and leaves a
-- checkpoint in their place; answers how many. A day's worth at a time, and nothing from the first one on that does not
-- fit: what was tampered with stays to be seen.
CREATE OR REPLACE FUNCTION prune_audit(p_keep interval, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    c_lock constant bigint := 4207849485;
    v_first bigint;
    v_position bigint;
    v_hash bytea;
    v_seal record;
BEGIN
    IF p_keep < interval '365 days' THEN
        RAISE EXCEPTION 'the audit is kept for a year at least'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'audit_is_kept_for_a_year';
    END IF;
    IF NOT pg_try_advisory_xact_lock(c_lock) THEN
        RETURN 0;
    END IF;
    SELECT position, hash INTO v_first, v_hash FROM audit_checkpoints ORDER BY position DESC LIMIT 1;
    v_first := coalesce(v_first, 0);
    v_hash := coalesce(v_hash, '');
    v_position := v_first;
    FOR v_seal IN
        SELECT s.position, s.hash, l.created_at, audit_text(l) AS text
        FROM audit_seals s JOIN booking_audit_log l ON l.id = s.entry_id
        WHERE s.position > v_first ORDER BY s.position LIMIT p_limit
    LOOP
        EXIT WHEN v_seal.created_at > now() - p_keep
            OR (v_position = v_first AND v_seal.created_at > now() - p_keep - interval '1 day')
            OR v_seal.position <> v_position + 1
            OR v_seal.hash <> sha256(v_hash || convert_to(v_seal.text, 'UTF8'));
        v_position := v_seal.position;
        v_hash := v_seal.hash;
    END LOOP;
    IF v_position > v_first THEN
        INSERT INTO audit_checkpoints (position, hash) VALUES (v_position, v_hash);
        DELETE FROM booking_audit_log
        WHERE id IN (SELECT entry_id FROM audit_seals WHERE position <= v_position);
        DELETE FROM audit_seals WHERE position <= v_position;
    END IF;
    RETURN v_position - v_first;
END
$$;
REVOKE EXECUTE ON FUNCTION prune_audit(interval, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION prune_audit(interval, integer) TO app;
