-- no-transaction
-- Administrators page through groups of a status, newest opening first. Nothing that a report of a known error changes is
-- in an index, so that counting stays within a page (HOT).
CREATE INDEX CONCURRENTLY IF NOT EXISTS error_groups_by_status ON error_groups (status, opened_at, fingerprint);
