-- no-transaction
-- Operators page through the events of one status, or of all, newest first, and count them: one index, read from its
-- ends and without the table.
CREATE INDEX CONCURRENTLY IF NOT EXISTS webhook_events_by_status ON webhook_events_log (status, received_at, event_id);
