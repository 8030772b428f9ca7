-- What the scheduled check tells operators. Every part reads the end of an index or a few rows, so that it costs the
-- same whatever has been sold.
CREATE OR REPLACE FUNCTION unsettled_figures() RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object(
        'quarantined_events', (SELECT count(*) FROM webhook_events_log WHERE status = 'quarantined'),
        -- Those of others who share the account carry another reason, and are nobody's concern.
        'parked_ours_events', (
            SELECT count(*) FROM webhook_events_log WHERE status = 'parked' AND reason = 'no such payment here'),
        'failed_events', (SELECT count(*) FROM webhook_events_log WHERE status = 'failed'),
        'dead_events', (SELECT count(*) FROM webhook_events_log WHERE status = 'dead'),
        'dead_outbox_rows', (SELECT count(*) FROM outbox WHERE status = 'dead'),
        -- The bank waits for evidence, until a date.
        'unanswered_disputes', (SELECT count(*) FROM disputes WHERE standing = 'open' AND status = 'needs_response'),
        -- Money that somebody sent back in the dashboard and that did not arrive: nobody here tries it again, nor hears how it
        -- was settled.
        'failed_refunds_made_at_stripe', (
            SELECT count(*) FROM refunds
            WHERE reason = 'made-at-stripe' AND status IN ('failed', 'canceled')
              AND updated_at > now() - interval '7 days'),
        'oldest_due_outbox_seconds', (
            SELECT coalesce(extract(epoch FROM now() - min(next_attempt_at)), 0)::integer
            FROM outbox WHERE status = 'pending' AND next_attempt_at <= now()),
        -- Of the last hour's, among those that were tried; absent where none was.
        'notification_success_percent', (
            SELECT (100 * count(*) FILTER (WHERE status = 'delivered') / nullif(count(*), 0))::integer
            FROM outbox
            WHERE status IN ('pending', 'delivered', 'dead') AND kind = 'notification'
              AND created_at > now() - interval '1 hour' AND (status <> 'pending' OR last_error IS NOT NULL)),
        -- Three cleanups have left them; money that is on its way has its own deadline.
        'holds_past_deadline', (
            SELECT count(*) FROM ticket_reservations r LEFT JOIN payment_intents_log p ON p.id = r.payment_id
            WHERE r.status = 'active' AND r.expires_at < now() - interval '15 minutes' AND p.funds_awaited_at IS NULL),
        'connections_used_percent', (
            SELECT ceil(100.0 * sum(numbackends) / (
                current_setting('max_connections')::integer
                - current_setting('superuser_reserved_connections')::integer
                - coalesce(current_setting('reserved_connections', true)::integer, 0)))::integer
            FROM pg_stat_database),
        'oldest_unsealed_audit_seconds', coalesce((
            SELECT extract(epoch FROM now() - l.created_at)::integer FROM booking_audit_log l
            WHERE l.id > coalesce((SELECT entry_id FROM audit_seals ORDER BY position DESC LIMIT 1), 0)
              AND NOT EXISTS (SELECT FROM audit_seals s WHERE s.entry_id = l.id)
            ORDER BY l.id LIMIT 1), 0)
    ))
$$;

-- What the last check has answered, NULL where none could count its figures; and whether the tables are small enough to be
-- counted at once, in some hundredths of a second.
CREATE OR REPLACE FUNCTION last_check(OUT is_small boolean, OUT checked jsonb)
LANGUAGE sql STABLE AS $$
    SELECT
        pg_relation_size('ticket_reservations') + pg_relation_size('payment_intents_log')
            + pg_relation_size('webhook_events_log') + pg_relation_size('bookings') + pg_relation_size('outbox')
            < 16 * 1024 * 1024,
        (SELECT result FROM job_runs
         WHERE job = 'check-promises' AND result -> 'figures' <> 'null' ORDER BY started_at DESC LIMIT 1)
$$;
