-- Errors: counted in their group whatever the flood, sampled, ended, opened again, and told to the tracker once an opening.
-- One order of locks: group, bucket of the hour, outbox row.

CREATE OR REPLACE FUNCTION severity_rank(p_severity text) RETURNS integer
LANGUAGE sql IMMUTABLE
RETURN array_position(ARRAY['debug', 'info', 'warning', 'error', 'critical'], p_severity);

-- The group's one row in the outbox, due again for each opening.
CREATE OR REPLACE FUNCTION ask_for_issue(p_fingerprint text, p_request_id text) RETURNS void
LANGUAGE sql AS $$
    WITH asked AS (
        UPDATE error_groups SET issue_opening = openings WHERE fingerprint = p_fingerprint RETURNING *
    )
    INSERT INTO outbox AS o (kind, dedupe_key, payload, request_id)
    SELECT 'error_issue', 'error_issue:' || a.fingerprint,
           jsonb_build_object('fingerprint', a.fingerprint, 'opening', a.openings, 'attempts_before', 0), p_request_id
    FROM asked a
    ON CONFLICT (dedupe_key) DO UPDATE SET
        -- Whoever is delivering the opening before keeps its lease, and finds when it settles that there is another.
        status = 'pending', delivered_at = NULL, request_id = excluded.request_id,
        payload = excluded.payload || jsonb_build_object('attempts_before', o.attempts),
        lease_until = CASE WHEN o.status = 'pending' THEN o.lease_until ELSE '-infinity' END,
        next_attempt_at = CASE WHEN o.status = 'pending' THEN o.next_attempt_at ELSE now() END
$$;

-- Counts a report p_times in its group, keeps a sample while the group's opening has fewer than 20, and asks for an issue
-- where the opening has none. A known error costs the one UPDATE.
--
-- Answers {outcome: counted, occurrence_count, new, sampled}; or {outcome: too-many-requests, retry_after} to p_opener, who
-- has opened p_opened_an_hour groups in this hour (NULL: no limit). p_issues_an_hour is NULL where there is no tracker.
-- Above it no issue is asked for now: the group's next report in another hour does.
--
-- Acts as the owner: `error_writer`, whom anybody may call, reaches bucket and outbox by this alone.
CREATE OR REPLACE FUNCTION report_error(
    p_fingerprint text, p_severity text, p_source text, p_title text, p_function_name text, p_stack_trace text,
    p_context jsonb, p_release text, p_url text, p_request_id text, p_times integer, p_opener text,
    p_opened_an_hour integer, p_issues_an_hour integer
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    c_samples constant integer := 20;
    g error_groups;
    v_sampled boolean := false;
BEGIN
    LOOP
        UPDATE error_groups SET
            occurrence_count = occurrence_count
                + CASE WHEN last_request_id IS DISTINCT FROM p_request_id THEN p_times ELSE 0 END,
            last_request_id = p_request_id,
            last_seen = greatest(last_seen, clock_timestamp()),
            severity = CASE WHEN severity_rank(p_severity) > severity_rank(severity) THEN p_severity ELSE severity END,
            status = CASE WHEN status = 'resolved' THEN 'open' ELSE status END,
            openings = openings + CASE WHEN status = 'resolved' THEN 1 ELSE 0 END,
            opened_at = CASE WHEN status = 'resolved' THEN now() ELSE opened_at END,
            samples = CASE WHEN status = 'resolved' THEN 1 ELSE least(samples + 1, c_samples + 1) END
        WHERE fingerprint = p_fingerprint
        RETURNING * INTO g;
        EXIT WHEN FOUND;
        IF p_opened_an_hour IS NOT NULL AND NOT take_of_hour('error-groups:' || p_opener, p_opened_an_hour) THEN
            RETURN jsonb_build_object('outcome', 'too-many-requests', 'retry_after',
                ceil(extract(epoch FROM date_bin('1 hour', now(), 'epoch') + interval '1 hour' - now())));
        END IF;
        INSERT INTO error_groups (fingerprint, severity, source, title, occurrence_count, samples, last_request_id)
        VALUES (p_fingerprint, p_severity, p_source, p_title, p_times, 1, p_request_id)
        ON CONFLICT (fingerprint) DO NOTHING
        RETURNING * INTO g;
        EXIT WHEN FOUND;
    END LOOP;

    IF g.openings > 1 AND g.opened_at = now() THEN
        -- Seen again: the samples of what was mended make room.
        DELETE FROM error_logs WHERE fingerprint = p_fingerprint AND resolved;
    END IF;
    IF g.samples <= c_samples THEN
        INSERT INTO error_logs (
            fingerprint, severity, function_name, error_message, stack_trace, context, release, url, request_id)
        SELECT p_fingerprint, p_severity, p_function_name, p_title, p_stack_trace, p_context, p_release, p_url, p_request_id
        WHERE NOT EXISTS (SELECT FROM error_logs WHERE fingerprint = p_fingerprint AND request_id = p_request_id);
        v_sampled := FOUND;
    END IF;
    IF g.status = 'open' AND g.issue_opening < g.openings AND severity_rank(g.severity) >= severity_rank('error')
       AND p_issues_an_hour IS NOT NULL AND take_of_hour('error-issues', p_issues_an_hour) THEN
        PERFORM ask_for_issue(p_fingerprint, p_request_id);
    END IF;
    RETURN jsonb_build_object('outcome', 'counted', 'occurrence_count', g.occurrence_count,
                              'new', g.occurrence_count = p_times, 'sampled', v_sampled);
END
$$;
REVOKE ALL ON FUNCTION report_error FROM PUBLIC;
GRANT EXECUTE ON FUNCTION report_error TO app, error_writer;

-- A group as administrators see it.
CREATE OR REPLACE FUNCTION error_group_json(g error_groups) RETURNS jsonb
LANGUAGE sql STABLE
RETURN jsonb_build_object(
    'fingerprint', g.fingerprint, 'status', g.status, 'severity', g.severity, 'source', g.source, 'title', g.title,
    'occurrence_count', g.occurrence_count, 'first_seen', rfc3339(g.first_seen), 'last_seen', rfc3339(g.last_seen),
    'opened_at', rfc3339(g.opened_at), 'openings', g.openings, 'issue_url', g.issue_url
);

-- A person says what becomes of a group. To unmute it opens it anew, so that it is told to the tracker. NULL: unknown.
CREATE OR REPLACE FUNCTION change_error_group(p_fingerprint text, p_act text) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    g error_groups;
BEGIN
    IF p_act = 'unmute' THEN
        UPDATE error_groups SET status = 'open', openings = openings + 1, opened_at = now()
        WHERE fingerprint = p_fingerprint AND status = 'muted';
    ELSE
        UPDATE error_groups SET status = CASE p_act WHEN 'mute' THEN 'muted' WHEN 'resolve' THEN 'resolved' END
        WHERE fingerprint = p_fingerprint;
    END IF;
    IF p_act = 'resolve' THEN
        UPDATE error_logs SET resolved = true WHERE fingerprint = p_fingerprint AND NOT resolved;
    END IF;
    SELECT * INTO g FROM error_groups WHERE fingerprint = p_fingerprint;
    RETURN CASE WHEN FOUND THEN error_group_json(g) END;
END
$$;

-- Issues that were closed there, as [{number, closed_at}]: their groups are resolved, and those that were seen since are
-- open anew, and their issues asked for. Each closing is heard once. The tracker tells whole seconds.
CREATE OR REPLACE FUNCTION hear_of_closed_issues(p_closed jsonb, p_issues_an_hour integer, p_request_id text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_seen_again text[];
    v_fingerprint text;
BEGIN
    WITH due AS MATERIALIZED (
        SELECT g.fingerprint, c.closed_at, g.last_seen > c.closed_at AS seen_again,
               c.closed_at < date_trunc('second', g.opened_at) AS is_old
        FROM jsonb_to_recordset(p_closed) AS c (number integer, closed_at timestamptz)
        JOIN error_groups g ON g.issue_number = c.number
        WHERE g.status = 'open' AND c.closed_at > coalesce(g.issue_closed_at, '-infinity')
        ORDER BY g.fingerprint
        FOR NO KEY UPDATE OF g
    ), heard AS (
        UPDATE error_groups g SET
            issue_closed_at = d.closed_at,
            status = CASE WHEN d.seen_again OR d.is_old THEN 'open' ELSE 'resolved' END,
            openings = g.openings + CASE WHEN d.seen_again AND NOT d.is_old THEN 1 ELSE 0 END,
            opened_at = CASE WHEN d.seen_again AND NOT d.is_old THEN now() ELSE g.opened_at END
        FROM due d WHERE d.fingerprint = g.fingerprint
        RETURNING g.fingerprint, d.seen_again, d.is_old
    ), done AS (
        UPDATE error_logs l SET resolved = true
        FROM heard h WHERE l.fingerprint = h.fingerprint AND NOT h.seen_again AND NOT h.is_old
    )
    SELECT array_agg(fingerprint ORDER BY fingerprint) FILTER (WHERE seen_again AND NOT is_old) INTO v_seen_again FROM heard;

    FOREACH v_fingerprint IN ARRAY coalesce(v_seen_again, '{}') LOOP
        IF take_of_hour('error-issues', p_issues_an_hour) THEN
            PERFORM ask_for_issue(v_fingerprint, p_request_id);
        END IF;
    END LOOP;
END
$$;

-- The tracker has the group's issue (p_number), or needs none any more (NULL). Where the group was opened anew meanwhile,
-- its row stays due. False: the lease was lost.
CREATE OR REPLACE FUNCTION settle_issue(p_outbox_id uuid, p_attempt integer, p_opening integer, p_number integer, p_url text)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_fingerprint text := (SELECT payload ->> 'fingerprint' FROM outbox WHERE id = p_outbox_id);
BEGIN
    PERFORM 1 FROM error_groups WHERE fingerprint = v_fingerprint FOR NO KEY UPDATE;
    IF p_number IS NOT NULL THEN
        UPDATE error_groups SET issue_number = p_number, issue_url = p_url WHERE fingerprint = v_fingerprint;
    END IF;
    UPDATE outbox SET lease_until = '-infinity', next_attempt_at = now()
    WHERE id = p_outbox_id AND attempts = p_attempt AND status = 'pending' AND (payload ->> 'opening')::integer > p_opening;
    RETURN FOUND OR settle_outbox(
        p_outbox_id, p_attempt, CASE WHEN p_number IS NULL THEN 'canceled' ELSE 'delivered' END, NULL);
END
$$;
