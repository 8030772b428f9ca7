-- no-transaction
-- Operators page through what was sent and what was not, newest first, and count it, as they do with events.
CREATE INDEX CONCURRENTLY IF NOT EXISTS outbox_by_status ON outbox (status, kind, created_at, id);
