-- Who changed what, from where and why. Written by triggers, so that raw SQL is seen as well as the functions;
-- append-only for everybody, its owner included.

CREATE TABLE booking_audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    booking_id uuid,
    table_name text NOT NULL,
    row_id uuid,
    action_type text NOT NULL,
    old_values jsonb,
    new_values jsonb,
    performed_by text NOT NULL,
    performed_by_id text,
    ip_address text,
    user_agent text,
    reason text,
    request_id text,
    stripe_event_id text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX audit_of_a_booking ON booking_audit_log (booking_id, id);

-- The functions say who acts by setting holdfast.context for the transaction. Whoever says nothing is recorded as
-- the database role that did it.
CREATE FUNCTION write_audit(
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
        coalesce(v_context ->> 'actor', 'database'), coalesce(v_context ->> 'actor_id', session_user),
        coalesce(v_context ->> 'ip_address', host(inet_client_addr())), v_context ->> 'user_agent',
        v_context ->> 'reason', v_context ->> 'request_id', v_context ->> 'stripe_event_id'
    );
END
$$;

CREATE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_old jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    v_new jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    v_row jsonb := coalesce(v_new, v_old);
    v_booking uuid;
BEGIN
    v_booking := CASE TG_TABLE_NAME
        WHEN 'bookings' THEN (v_row ->> 'id')::uuid
        WHEN 'booking_items' THEN (v_row ->> 'booking_id')::uuid
        WHEN 'booking_add_ons' THEN (SELECT booking_id FROM booking_items WHERE id = (v_row ->> 'item_id')::uuid)
        WHEN 'refunds' THEN (SELECT id FROM bookings WHERE payment_id = (v_row ->> 'payment_id')::uuid)
    END;
    PERFORM write_audit(
        TG_TABLE_NAME, v_booking, coalesce(v_row ->> 'id', v_row ->> 'item_id')::uuid, lower(TG_OP), v_old, v_new
    );
    RETURN NULL;
END
$$;

CREATE FUNCTION audit_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM write_audit(TG_TABLE_NAME, NULL, NULL, 'truncate', NULL, NULL);
    RETURN NULL;
END
$$;

DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['bookings', 'booking_items', 'booking_add_ons', 'refunds'] LOOP
        EXECUTE format(
            'CREATE TRIGGER audit_row AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION audit_row()',
            v_table);
        EXECUTE format(
            'CREATE TRIGGER audit_truncate AFTER TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION audit_truncate()',
            v_table);
    END LOOP;
END
$$;

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'booking_audit_log is append-only'
        USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'audit_is_append_only';
END
$$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON booking_audit_log
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_is_never_truncated BEFORE TRUNCATE ON booking_audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

GRANT SELECT, INSERT ON booking_audit_log TO app;
