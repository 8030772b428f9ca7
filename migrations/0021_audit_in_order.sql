-- no-transaction
-- The order in which entries are sealed: a transaction's together, those of older ones first.
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_in_order ON booking_audit_log (transaction_id, id);
