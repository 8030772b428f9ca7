-- One row a payment, written before Stripe is called: whatever dies afterwards, we know what we asked for and under
-- which key, and can ask again without asking twice.

CREATE TABLE payment_intents_log (
    id uuid PRIMARY KEY,
    reservation_id uuid NOT NULL REFERENCES ticket_reservations,
    mode text NOT NULL,
    -- The key under which Stripe is asked: payment:<id>:<key_number>.
    idempotency_key text NOT NULL,
    key_number integer NOT NULL DEFAULT 1,
    payment_intent_id text,
    checkout_session_id text,
    amount bigint NOT NULL,
    currency text NOT NULL,
    -- What Stripe is asked for beyond amount and currency, frozen: a retry under the same key must ask the same.
    parameters jsonb NOT NULL,
    -- Stripe's last word on the status, for display. Nothing is decided by it.
    status text NOT NULL DEFAULT 'creating',
    status_at timestamptz NOT NULL DEFAULT '-infinity',
    -- Facts. They only grow, so the order in which they arrive does not matter; all decisions follow from them.
    captured_amount bigint NOT NULL DEFAULT 0,
    refunded_amount bigint NOT NULL DEFAULT 0,
    disputed_at timestamptz,
    canceled_at timestamptz,
    funds_awaited_at timestamptz,
    -- Who may talk to Stripe about this payment now. attempt is the fencing token: it grows with each owner, and
    -- an owner whose number is no longer on the row changes nothing.
    attempt integer NOT NULL DEFAULT 1,
    lease_until timestamptz NOT NULL,
    -- A close that Stripe has not settled is not asked again before this.
    next_ask_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payments_idempotency_key_is_unique UNIQUE (idempotency_key),
    CONSTRAINT payments_intent_is_unique UNIQUE (payment_intent_id),
    CONSTRAINT payments_session_is_unique UNIQUE (checkout_session_id),
    CONSTRAINT payments_mode_is_known CHECK (mode IN ('payment_intent', 'checkout_session')),
    CONSTRAINT payments_amount_is_positive CHECK (amount > 0),
    CONSTRAINT payments_refund_no_more_than_captured CHECK (refunded_amount <= captured_amount)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX payments_one_live_a_reservation ON payment_intents_log (reservation_id) WHERE canceled_at IS NULL;
CREATE INDEX payments_of_a_reservation ON payment_intents_log (reservation_id);
CREATE INDEX payments_open_by_next_ask ON payment_intents_log (next_ask_at)
    WHERE canceled_at IS NULL AND captured_amount = 0;

-- Both tables are new, and empty.
-- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
ALTER TABLE ticket_reservations ADD CONSTRAINT reservations_name_their_payment
    FOREIGN KEY (payment_id) REFERENCES payment_intents_log;

CREATE FUNCTION check_payment_facts_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.captured_amount < OLD.captured_amount
        OR NEW.refunded_amount < OLD.refunded_amount
        OR NEW.attempt < OLD.attempt
        OR NEW.key_number < OLD.key_number
        OR (OLD.disputed_at IS NOT NULL AND NEW.disputed_at IS NULL)
        OR (OLD.canceled_at IS NOT NULL AND NEW.canceled_at IS NULL)
        OR (OLD.funds_awaited_at IS NOT NULL AND NEW.funds_awaited_at IS NULL)
        OR (OLD.payment_intent_id IS NOT NULL AND NEW.payment_intent_id IS DISTINCT FROM OLD.payment_intent_id)
        OR (OLD.checkout_session_id IS NOT NULL AND NEW.checkout_session_id IS DISTINCT FROM OLD.checkout_session_id)
        OR (NEW.amount, NEW.currency) IS DISTINCT FROM (OLD.amount, OLD.currency)
    THEN
        RAISE EXCEPTION 'the facts of payment % only grow', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_facts_only_grow';
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
CREATE TRIGGER payments_facts_only_grow BEFORE UPDATE ON payment_intents_log
    FOR EACH ROW EXECUTE FUNCTION check_payment_facts_grow();

-- A caller's Idempotency-Key: the answer that it got, or the lease of the one who is working on it.
-- The answer is stored as text, byte for byte, without its secrets: those are put back when it is replayed.
CREATE TABLE idempotency_keys (
    scope text NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    attempt integer NOT NULL DEFAULT 1,
    lease_until timestamptz NOT NULL,
    status integer,
    answer text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key),
    CONSTRAINT idempotency_keys_store_only_success CHECK (status BETWEEN 200 AND 299),
    CONSTRAINT idempotency_keys_answer_is_whole CHECK ((status IS NULL) = (answer IS NULL))
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- One row a Stripe event id, whatever became of it. The payload has no client secrets.
CREATE TABLE webhook_events_log (
    event_id text PRIMARY KEY,
    event_type text NOT NULL,
    status text NOT NULL,
    -- How often it was tried, and how often Stripe (or an operator) brought it.
    attempts integer NOT NULL DEFAULT 0,
    deliveries integer NOT NULL DEFAULT 1,
    reason text,
    last_error text,
    payload jsonb NOT NULL,
    payment_id uuid REFERENCES payment_intents_log,
    request_id text,
    next_attempt_at timestamptz,
    received_at timestamptz NOT NULL DEFAULT now(),
    processed_at timestamptz,
    CONSTRAINT webhook_events_status_is_known CHECK (
        status IN ('received', 'processed', 'ignored', 'stale', 'parked', 'quarantined', 'failed', 'dead')
    )
);
CREATE INDEX webhook_events_unsettled ON webhook_events_log (status, received_at)
    WHERE status IN ('parked', 'failed', 'quarantined', 'dead');

GRANT SELECT, INSERT, UPDATE ON payment_intents_log, webhook_events_log TO app;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO app;
