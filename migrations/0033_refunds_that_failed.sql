-- no-transaction
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
-- What has come to nothing of late is looked for every five minutes.
CREATE INDEX CONCURRENTLY IF NOT EXISTS refunds_that_failed ON refunds (updated_at) WHERE status IN ('failed', 'canceled');
