-- What becomes of money after it has come in: refunds of several makers, disputes, and which of the two gives it back.

-- One row a dispute of Stripe's. Its facts only grow: the money that it took, the money that came back.
CREATE TABLE disputes (
    id uuid PRIMARY KEY,
    stripe_dispute_id text NOT NULL,
    payment_id uuid NOT NULL REFERENCES payment_intents_log,
    -- Stripe's word, when it was said, and what it comes to: an inquiry moves nothing, an open one freezes the booking,
    -- a lost one revokes it.
    status text NOT NULL,
    status_at timestamptz NOT NULL,
    standing text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    withdrawn_amount bigint NOT NULL DEFAULT 0,
    reinstated_amount bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT disputes_stripe_dispute_is_unique UNIQUE (stripe_dispute_id),
    CONSTRAINT disputes_standing_is_known CHECK (standing IN ('inquiry', 'open', 'won', 'lost')),
    CONSTRAINT disputes_amounts_are_not_negative CHECK (
        amount >= 0 AND withdrawn_amount >= 0 AND reinstated_amount >= 0
    )
);
CREATE INDEX disputes_of_a_payment ON disputes (payment_id);

CREATE FUNCTION check_dispute_facts_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.withdrawn_amount < OLD.withdrawn_amount
        OR NEW.reinstated_amount < OLD.reinstated_amount
        OR (NEW.payment_id, NEW.stripe_dispute_id) IS DISTINCT FROM (OLD.payment_id, OLD.stripe_dispute_id)
    THEN
        RAISE EXCEPTION 'the facts of dispute % only grow', OLD.stripe_dispute_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'disputes_facts_only_grow';
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
CREATE TRIGGER disputes_facts_only_grow BEFORE UPDATE ON disputes
    FOR EACH ROW EXECUTE FUNCTION check_dispute_facts_grow();

ALTER TABLE refunds
    -- What was asked for, where a refund made at Stripe leaves less than that: it grows back if that one fails.
    ADD COLUMN wanted_amount bigint,
    -- Stripe's refunds for this row that came to nothing: what is still said of them is old.
    ADD COLUMN failed_stripe_refund_ids text[] NOT NULL DEFAULT '{}',
    -- The dispute by which the money goes back instead.
    ADD COLUMN superseded_by uuid;
-- Not validated, here and below: what stands there already cannot break them, and need not be read under a lock.
ALTER TABLE refunds ADD CONSTRAINT refunds_name_their_dispute
    FOREIGN KEY (superseded_by) REFERENCES disputes NOT VALID;

-- canceled: there is nothing to do any more, and nothing went wrong.
-- squawk-ignore ban-drop-constraint
ALTER TABLE outbox DROP CONSTRAINT outbox_status_is_known;
ALTER TABLE outbox ADD CONSTRAINT outbox_status_is_known
    CHECK (status IN ('pending', 'delivered', 'dead', 'canceled')) NOT VALID;

-- A dispute's changes belong to its payment's booking, as a refund's do.
CREATE OR REPLACE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_old jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    v_new jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    v_row jsonb := coalesce(v_new, v_old);
    v_booking uuid;
BEGIN
    v_booking := CASE
        WHEN TG_TABLE_NAME = 'bookings' THEN (v_row ->> 'id')::uuid
        WHEN TG_TABLE_NAME = 'booking_items' THEN (v_row ->> 'booking_id')::uuid
        WHEN TG_TABLE_NAME = 'booking_add_ons'
            THEN (SELECT booking_id FROM booking_items WHERE id = (v_row ->> 'item_id')::uuid)
        ELSE (SELECT id FROM bookings WHERE payment_id = (v_row ->> 'payment_id')::uuid)
    END;
    PERFORM write_audit(
        TG_TABLE_NAME, v_booking, coalesce(v_row ->> 'id', v_row ->> 'item_id')::uuid, lower(TG_OP), v_old, v_new
    );
    RETURN NULL;
END
$$;
CREATE TRIGGER audit_row AFTER INSERT OR UPDATE OR DELETE ON disputes FOR EACH ROW EXECUTE FUNCTION audit_row();
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON disputes FOR EACH STATEMENT EXECUTE FUNCTION audit_truncate();

GRANT SELECT, INSERT, UPDATE ON disputes TO app;

-- These are made anew under other parameters, or are no more. Who misses one for that moment is done again.
-- squawk-ignore ban-drop-function
DROP FUNCTION IF EXISTS
    record_refund(uuid, text, text),
    take_next_refund_key(uuid),
    keep_payment(uuid, integer, boolean, interval),
    record_facts(uuid, text, text, bigint, boolean, text, timestamptz);
