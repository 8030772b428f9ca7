-- What was booked before there was such a list; apart from it, so that nobody's sale waits.
INSERT INTO offering_bookings (offering_id, booked_at, booking_id)
SELECT s.offering_id, b.created_at, b.id
FROM bookings b JOIN booking_items i ON i.booking_id = b.id JOIN slots s ON s.id = i.slot_id
ON CONFLICT DO NOTHING;
