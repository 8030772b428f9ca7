-- no-transaction
-- The story of a booking begins with the hold and the payment that it was made of, before it has an id.
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_before_a_booking ON booking_audit_log (row_id)
WHERE booking_id IS NULL AND table_name IN ('ticket_reservations', 'payment_intents_log');
