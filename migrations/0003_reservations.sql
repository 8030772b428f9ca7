-- A hold: seats set aside for one buyer until expires_at. It ends in one of three ways, and each is written once.

CREATE TABLE ticket_reservations (
    id uuid PRIMARY KEY,
    customer_id uuid NOT NULL REFERENCES customers,
    status text NOT NULL DEFAULT 'active',
    -- At this moment the hold is over: no longer payable. Nothing ties it to created_at: operators move it.
    expires_at timestamptz NOT NULL,
    -- Paying extends the hold, but never past here.
    ceiling_at timestamptz NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    -- The payment that is open for this hold. It stands here, on the row that everybody locks, because a statement
    -- that waited for this row sees the row anew, but not rows of other tables that came meanwhile.
    payment_id uuid,
    -- Somebody is ending the hold and waits for Stripe: new payments are refused. closing_as is what it will be.
    closing_at timestamptz,
    closing_as text,
    request_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT reservations_status_is_known CHECK (status IN ('active', 'expired', 'completed', 'cancelled')),
    CONSTRAINT reservations_close_as_something CHECK (
        (closing_at IS NULL) = (closing_as IS NULL) AND closing_as IN ('expired', 'cancelled', 'completed')
    ),
    CONSTRAINT reservations_amount_is_not_negative CHECK (amount >= 0)
) WITH (fillfactor = 80);
CREATE INDEX reservations_active_by_deadline ON ticket_reservations (expires_at) WHERE status = 'active';
CREATE INDEX reservations_active_of_a_customer ON ticket_reservations (customer_id) WHERE status = 'active';

CREATE TABLE reservation_items (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    reservation_id uuid NOT NULL REFERENCES ticket_reservations,
    slot_id uuid NOT NULL REFERENCES slots,
    units integer NOT NULL,
    -- The price at the moment of the hold: what is charged, whatever the catalogue says later.
    unit_amount bigint NOT NULL,
    CONSTRAINT reservation_items_name_a_slot_once UNIQUE (reservation_id, slot_id),
    CONSTRAINT reservation_items_units_are_positive CHECK (units > 0)
);
CREATE INDEX reservation_items_of_a_slot ON reservation_items (slot_id);

CREATE TABLE reservation_add_ons (
    item_id uuid NOT NULL REFERENCES reservation_items,
    add_on_id uuid NOT NULL REFERENCES add_ons,
    quantity integer NOT NULL,
    unit_amount bigint NOT NULL,
    PRIMARY KEY (item_id, add_on_id),
    CONSTRAINT reservation_add_ons_quantity_is_positive CHECK (quantity > 0)
);

-- The one table of transitions. An expired hold may still be seated (late money) or cancelled by its buyer.
CREATE FUNCTION check_reservation_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.status, NEW.status) NOT IN (
        ('active', 'expired'), ('active', 'completed'), ('active', 'cancelled'),
        ('expired', 'completed'), ('expired', 'cancelled')
    ) THEN
        RAISE EXCEPTION 'a reservation never goes from % to %', OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reservations_transition_is_legal';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER reservations_transition BEFORE UPDATE OF status ON ticket_reservations
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION check_reservation_transition();
CREATE TRIGGER reservations_updated_at BEFORE UPDATE ON ticket_reservations
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

GRANT SELECT, INSERT, UPDATE ON ticket_reservations TO app;
GRANT SELECT, INSERT ON reservation_items, reservation_add_ons TO app;
