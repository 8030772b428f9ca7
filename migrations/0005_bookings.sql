-- A confirmed sale, the money that goes back, and everything that leaves the house.

CREATE TABLE bookings (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    reservation_id uuid NOT NULL REFERENCES ticket_reservations,
    customer_id uuid NOT NULL REFERENCES customers,
    payment_id uuid REFERENCES payment_intents_log,
    status text NOT NULL DEFAULT 'confirmed',
    payment_method text NOT NULL,
    payment_status text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT bookings_one_a_reservation UNIQUE (reservation_id),
    CONSTRAINT bookings_one_a_payment UNIQUE (payment_id),
    CONSTRAINT bookings_status_is_known CHECK (status IN ('confirmed', 'cancelled', 'frozen', 'revoked')),
    CONSTRAINT bookings_method_and_payment_status_fit CHECK (
        (payment_method = 'pay_now' AND payment_id IS NOT NULL
            AND payment_status IN ('paid', 'refunded', 'partially_refunded', 'disputed', 'failed'))
        OR (payment_method = 'pay_on_arrival' AND payment_id IS NULL
            AND payment_status IN ('pending', 'paid', 'failed', 'refunded', 'partially_refunded'))
        OR (payment_method = 'credits' AND payment_id IS NULL AND payment_status IN ('paid', 'refunded'))
        OR (payment_method = 'free' AND payment_id IS NULL AND payment_status = 'free')
    )
);
CREATE INDEX bookings_newest_first ON bookings (created_at DESC, id DESC);
CREATE TRIGGER bookings_version BEFORE UPDATE ON bookings FOR EACH ROW EXECUTE FUNCTION bump_version();

CREATE TABLE booking_items (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    booking_id uuid NOT NULL REFERENCES bookings,
    slot_id uuid NOT NULL REFERENCES slots,
    units integer NOT NULL,
    unit_amount bigint NOT NULL,
    CONSTRAINT booking_items_units_are_positive CHECK (units > 0)
);
CREATE INDEX booking_items_of_a_booking ON booking_items (booking_id);
CREATE INDEX booking_items_of_a_slot ON booking_items (slot_id);

CREATE TABLE booking_add_ons (
    item_id uuid NOT NULL REFERENCES booking_items,
    add_on_id uuid NOT NULL REFERENCES add_ons,
    quantity integer NOT NULL,
    unit_amount bigint NOT NULL,
    PRIMARY KEY (item_id, add_on_id)
);

-- On INSERT only: a booking whose time has come must still be cancelled, refunded and corrected.
CREATE FUNCTION check_booking_is_ahead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT starts_at FROM slots WHERE id = NEW.slot_id) <= now() THEN
        RAISE EXCEPTION 'slot % has begun: nothing more is booked on it', NEW.slot_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'bookings_are_never_made_in_the_past';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER bookings_are_never_made_in_the_past BEFORE INSERT ON booking_items
    FOR EACH ROW EXECUTE FUNCTION check_booking_is_ahead();

-- A refund reserves its amount here before Stripe is asked, so that two can never return more than came in.
CREATE TABLE refunds (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    payment_id uuid NOT NULL REFERENCES payment_intents_log,
    amount bigint NOT NULL,
    reason text NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    stripe_refund_id text,
    key_number integer NOT NULL DEFAULT 1,
    -- When Stripe was first asked: its memory of a key lasts 24 hours.
    first_asked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT refunds_amount_is_positive CHECK (amount > 0),
    CONSTRAINT refunds_stripe_refund_is_unique UNIQUE (stripe_refund_id),
    CONSTRAINT refunds_status_is_known CHECK (status IN ('pending', 'succeeded', 'failed', 'canceled'))
);
CREATE INDEX refunds_of_a_payment ON refunds (payment_id);
CREATE TRIGGER refunds_updated_at BEFORE UPDATE ON refunds FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE FUNCTION check_refunds_fit_the_payment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_captured bigint;
    v_refunds bigint;
BEGIN
    -- The payment's row is the lock that makes the sum exact.
    SELECT captured_amount INTO v_captured FROM payment_intents_log WHERE id = NEW.payment_id FOR NO KEY UPDATE;
    SELECT coalesce(sum(amount), 0) INTO v_refunds
    FROM refunds WHERE payment_id = NEW.payment_id AND status IN ('pending', 'succeeded') AND id <> NEW.id;
    IF NEW.status IN ('pending', 'succeeded') AND v_refunds + NEW.amount > v_captured THEN
        RAISE EXCEPTION 'refunds of payment % would be more than was paid', NEW.payment_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'refunds_never_exceed_the_payment';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER refunds_never_exceed_the_payment BEFORE INSERT OR UPDATE OF amount, status, payment_id ON refunds
    FOR EACH ROW EXECUTE FUNCTION check_refunds_fit_the_payment();

-- Every effect on the outside world, written in the commit that causes it and delivered at least once.
CREATE TABLE outbox (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind text NOT NULL,
    -- One effect is written once, whatever writes it again.
    dedupe_key text NOT NULL,
    payload jsonb NOT NULL,
    refund_id uuid REFERENCES refunds,
    status text NOT NULL DEFAULT 'pending',
    attempts integer NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error text,
    request_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    CONSTRAINT outbox_dedupe_key_is_unique UNIQUE (dedupe_key),
    CONSTRAINT outbox_kind_is_known CHECK (kind IN ('notification', 'refund', 'error_issue')),
    CONSTRAINT outbox_status_is_known CHECK (status IN ('pending', 'delivered', 'dead')),
    CONSTRAINT outbox_refund_names_its_row CHECK ((kind = 'refund') = (refund_id IS NOT NULL))
);
CREATE INDEX outbox_due ON outbox (next_attempt_at) WHERE status = 'pending';

GRANT SELECT, INSERT, UPDATE ON bookings, booking_items, refunds, outbox TO app;
GRANT SELECT, INSERT ON booking_add_ons TO app;
