-- The audit of everything that is worth money: more tables, no personal data in the clear, and all that the hash chain
-- (functions/audit.sql) needs, so that nobody changes the log unseen.

-- The entries that are there already belong to transactions that have ended; each new one says which it belongs to.
ALTER TABLE booking_audit_log ADD COLUMN transaction_id xid8 NOT NULL DEFAULT '0';
ALTER TABLE booking_audit_log ALTER COLUMN transaction_id SET DEFAULT pg_current_xact_id();

-- The chain: hash = sha256(the hash before || the entry as audit_text() writes it). It stands beside the log, so that
-- whoever writes an entry waits for nobody. No foreign key: an entry that is missing must be found, not prevented.
CREATE TABLE audit_seals (
    position bigint PRIMARY KEY,
    entry_id bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_seals_seal_an_entry_once UNIQUE (entry_id)
);

-- What has been removed because of its age: up to this position, which had this hash. Verification goes on from there.
CREATE TABLE audit_checkpoints (
    position bigint PRIMARY KEY,
    hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The key of the digests that stand for personal data, in the form that HMAC wants it (RFC 2104): nobody but the owner
-- and the functions that act as the owner can read it.
CREATE TABLE audit_key (
    only_one boolean PRIMARY KEY DEFAULT true,
    inner_pad bytea NOT NULL,
    outer_pad bytea NOT NULL,
    CONSTRAINT audit_key_is_one CHECK (only_one)
);
DO $$
DECLARE
    -- gen_random_uuid() is as random as the machine can be; two of them are 244 bits.
    v_key constant bytea := decode(
        replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '') || repeat('00', 32), 'hex');
    v_inner bytea := v_key;
    v_outer bytea := v_key;
BEGIN
    FOR i IN 0..63 LOOP
        v_inner := set_byte(v_inner, i, get_byte(v_key, i) # x'36'::integer);
        v_outer := set_byte(v_outer, i, get_byte(v_key, i) # x'5c'::integer);
    END LOOP;
    INSERT INTO audit_key (inner_pad, outer_pad) VALUES (v_inner, v_outer);
END
$$;

-- Writes an entry, as the owner: `app` cannot.
CREATE FUNCTION append_audit(
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
REVOKE EXECUTE ON FUNCTION append_audit(text, uuid, uuid, text, jsonb, jsonb) FROM PUBLIC;

-- For what is no change of a row, such as a replay. Changes of rows are the triggers' to write: nobody can invent one.
CREATE OR REPLACE FUNCTION write_audit(
    p_table text, p_booking uuid, p_row uuid, p_action text, p_old jsonb, p_new jsonb
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF p_action IN ('insert', 'update', 'delete', 'truncate') THEN
        RAISE EXCEPTION 'only a change itself writes that a row was changed'
            USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'audit_is_written_by_triggers';
    END IF;
    PERFORM append_audit(p_table, p_booking, p_row, p_action, p_old, p_new);
END
$$;
REVOKE EXECUTE ON FUNCTION write_audit(text, uuid, uuid, text, jsonb, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION write_audit(text, uuid, uuid, text, jsonb, jsonb) TO app;

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
        coalesce(v_context ->> 'actor', 'database'), coalesce(v_context ->> 'actor_id', session_user),
        coalesce(v_context ->> 'ip_address', host(inet_client_addr())), v_context ->> 'user_agent',
        v_context ->> 'reason', v_context ->> 'request_id', v_context ->> 'stripe_event_id'
    );
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION audit_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM append_audit(TG_TABLE_NAME, NULL, NULL, 'truncate', NULL, NULL);
    RETURN NULL;
END
$$;

-- bookings with what belongs to them, refunds and disputes have their triggers. An update of the others is written where
-- it changes any column that is not left out: a hold's deadline, a payment's lease and a slot's counts change all the
-- time, and what they come to is written elsewhere.
DO $$
DECLARE
    v_table record;
    v_columns text;
BEGIN
    FOR v_table IN SELECT * FROM (VALUES
        ('customers', '{email,name,phone}', '{}'),
        ('offerings', '{}', '{updated_at}'),
        ('add_ons', '{}', '{updated_at}'),
        ('slots', '{}', '{held_bookings,held_units,sold_bookings,sold_units}'),
        ('ticket_reservations', '{}',
         '{expires_at,ceiling_at,payment_id,closing_at,closing_as,request_id,updated_at}'),
        ('payment_intents_log', '{}',
         '{parameters,attempt,lease_until,next_ask_at,next_reconcile_at,status_at,updated_at}'),
        ('user_credits', '{}', '{}'),
        ('credit_grants', '{}', '{}'),
        ('credit_entries', '{}', '{}'),
        ('schedules', '{}', '{}'),
        ('blackout_dates', '{}', '{}')
    ) AS t (name, personal, left_out)
    LOOP
        CONTINUE WHEN to_regclass('public.' || v_table.name) IS NULL;
        SELECT string_agg(format('$.%I', attname), ', ' ORDER BY attnum) INTO v_columns FROM pg_attribute
        WHERE attrelid = to_regclass('public.' || v_table.name) AND attnum > 0 AND NOT attisdropped
          AND attname <> ALL (v_table.left_out::text[]);
        EXECUTE format(
            'CREATE TRIGGER audit_row AFTER INSERT OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION audit_row(%L, %L)',
            v_table.name, v_table.personal, v_table.left_out);
        EXECUTE format(
            'CREATE TRIGGER audit_change AFTER UPDATE ON %I FOR EACH ROW WHEN (ROW(%s) IS DISTINCT FROM ROW(%s))
             EXECUTE FUNCTION audit_row(%L, %L)',
            v_table.name, replace(v_columns, '$', 'OLD'), replace(v_columns, '$', 'NEW'), v_table.personal,
            v_table.left_out);
        EXECUTE format(
            'CREATE TRIGGER audit_truncate AFTER TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION audit_truncate()',
            v_table.name);
    END LOOP;
END
$$;

-- Nothing is changed, and nothing goes but what a checkpoint stands for.
CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_position bigint;
BEGIN
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'booking_audit_log' THEN
        SELECT position INTO v_position FROM audit_seals WHERE entry_id = OLD.id;
    ELSIF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'audit_seals' THEN
        v_position := OLD.position;
    END IF;
    IF v_position <= (SELECT max(position) FROM audit_checkpoints) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'audit_is_append_only';
END
$$;
CREATE FUNCTION check_audit_checkpoint() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM audit_seals WHERE position = NEW.position AND hash = NEW.hash) THEN
        RAISE EXCEPTION 'a checkpoint is a copy of a seal'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'audit_checkpoints_are_copies_of_seals';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON audit_seals
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_is_never_truncated BEFORE TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON audit_checkpoints
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_is_never_truncated BEFORE TRUNCATE ON audit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_checkpoints_are_copies_of_seals BEFORE INSERT ON audit_checkpoints
    FOR EACH ROW EXECUTE FUNCTION check_audit_checkpoint();

-- From now on `app` writes to the log by the triggers alone, and by write_audit.
REVOKE INSERT ON booking_audit_log FROM app;
GRANT SELECT ON audit_seals TO app;
