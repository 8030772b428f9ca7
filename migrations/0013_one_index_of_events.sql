-- no-transaction
-- webhook_events_by_status reads what this one reads, in the same order.
DROP INDEX CONCURRENTLY IF EXISTS webhook_events_unsettled;
