-- Which bookings an offering has, in the order in which administrators page through them. A booking's lines stay in their
-- offerings for good, so a row here is written with the line and never changes.
CREATE TABLE offering_bookings (
    offering_id uuid NOT NULL REFERENCES offerings,
    booked_at timestamptz NOT NULL,
    booking_id uuid NOT NULL REFERENCES bookings ON DELETE CASCADE,
    PRIMARY KEY (offering_id, booked_at, booking_id)
);

CREATE FUNCTION list_booking_by_offering() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO offering_bookings (offering_id, booked_at, booking_id)
    SELECT s.offering_id, b.created_at, b.id FROM slots s, bookings b WHERE s.id = NEW.slot_id AND b.id = NEW.booking_id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER booking_items_are_listed_by_offering AFTER INSERT ON booking_items
    FOR EACH ROW EXECUTE FUNCTION list_booking_by_offering();

GRANT SELECT, INSERT ON offering_bookings TO app;
