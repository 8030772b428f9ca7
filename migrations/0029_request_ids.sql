-- no-transaction
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
-- What a request has made says which one it was, and what belongs to a story is found by an index. Each statement may be
-- run again.
ALTER TABLE payment_intents_log ADD COLUMN IF NOT EXISTS request_id text;
ALTER TABLE refunds ADD COLUMN IF NOT EXISTS request_id text;
-- Whoever acts has said so to the transaction, as for the audit.
ALTER TABLE payment_intents_log ALTER COLUMN request_id
    SET DEFAULT nullif(current_setting('holdfast.context', true), '')::jsonb ->> 'request_id';
ALTER TABLE refunds ALTER COLUMN request_id
    SET DEFAULT nullif(current_setting('holdfast.context', true), '')::jsonb ->> 'request_id';
-- After what has caused it, in the order of things.
ALTER TABLE outbox ALTER COLUMN created_at SET DEFAULT clock_timestamp();

CREATE INDEX CONCURRENTLY IF NOT EXISTS webhook_events_of_a_payment ON webhook_events_log (payment_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS error_logs_of_a_request ON error_logs (request_id);
-- Money that goes back, and never was for a booking.
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_of_unbooked_money ON booking_audit_log (row_id)
WHERE booking_id IS NULL AND table_name IN ('refunds', 'disputes');
