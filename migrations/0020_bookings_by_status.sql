-- no-transaction
-- Administrators page through the bookings of one status, newest first.
CREATE INDEX CONCURRENTLY IF NOT EXISTS bookings_by_status ON bookings (status, created_at, id);
