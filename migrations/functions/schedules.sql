-- Slots made from weekly rules, and made anew when the rules change, while they are being sold.

-- The moment that a local time means, by RFC 5545, 3.3.5: one that does not exist, because clocks go forward, is taken
-- with the offset before the gap, as AT TIME ZONE does it; one that exists twice, because they go back, is the first,
-- which is a day after the same time of yesterday.
CREATE OR REPLACE FUNCTION instant_of(p_local timestamp, p_timezone text) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN ((p_local - interval '24 hours') AT TIME ZONE p_timezone + interval '24 hours') AT TIME ZONE p_timezone = p_local
            THEN (p_local - interval '24 hours') AT TIME ZONE p_timezone + interval '24 hours'
        ELSE p_local AT TIME ZONE p_timezone
    END
$$;

-- Every time that weekly rules make on the days from p_from to p_until, but on days off. Of two that a change of the
-- clocks has brought together there is one, by the rule of the later wall time.
CREATE OR REPLACE FUNCTION schedule_times(
    p_timezone text, p_rules jsonb, p_from date, p_until date, p_blackouts date[]
) RETURNS SETOF schedule_time
LANGUAGE sql STABLE AS $$
    SELECT DISTINCT ON (i.starts_at, r.minutes)
           i.starts_at, i.starts_at + r.minutes * interval '1 minute', r.max_bookings, r.max_units,
           i.starts_at AT TIME ZONE p_timezone <> d.day + r.start
    FROM generate_series(p_from::timestamp, p_until::timestamp, interval '1 day') AS d (day)
    JOIN jsonb_to_recordset(p_rules) AS r (
        weekday integer, start time, minutes integer, max_bookings integer, max_units integer
    ) ON r.weekday = extract(isodow FROM d.day) - 1
    CROSS JOIN LATERAL (SELECT instant_of(d.day + r.start, p_timezone) AS starts_at OFFSET 0) i
    WHERE d.day::date <> ALL (p_blackouts)
    ORDER BY i.starts_at, r.minutes, d.day DESC, r.start DESC
$$;

-- Whether this names a zone of the IANA's database, as the database knows it; abbreviations and offsets name none.
CREATE OR REPLACE FUNCTION is_timezone(p_name text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM pg_timezone_names
        WHERE name = p_name AND name !~ '^(posix|right)/' AND name NOT IN ('Factory', 'localtime', 'posixrules'))
$$;

-- The schedule as it was said last. What is as it was is not written again.
CREATE OR REPLACE FUNCTION keep_schedule(
    p_offering_id uuid, p_timezone text, p_resource_id uuid, p_from date, p_until date, p_rules jsonb, p_blackouts date[]
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO schedules AS s (offering_id, timezone, resource_id, starts_on, ends_on)
    VALUES (p_offering_id, p_timezone, p_resource_id, p_from, p_until)
    ON CONFLICT (offering_id) DO UPDATE SET
        timezone = excluded.timezone, resource_id = excluded.resource_id, starts_on = excluded.starts_on,
        ends_on = excluded.ends_on
    WHERE s IS DISTINCT FROM excluded;
    DELETE FROM schedule_rules k
    WHERE offering_id = p_offering_id AND NOT EXISTS (
        SELECT FROM jsonb_to_recordset(p_rules) AS r (weekday integer, start time, minutes integer)
        WHERE (r.weekday, r.start, r.minutes) = (k.weekday, k.starts, k.minutes));
    INSERT INTO schedule_rules AS k (offering_id, weekday, starts, minutes, max_bookings, max_units)
    SELECT p_offering_id, weekday, start, minutes, max_bookings, max_units
    FROM jsonb_to_recordset(p_rules) AS r (
        weekday integer, start time, minutes integer, max_bookings integer, max_units integer)
    ON CONFLICT (offering_id, weekday, starts, minutes) DO UPDATE SET
        max_bookings = excluded.max_bookings, max_units = excluded.max_units
    WHERE k IS DISTINCT FROM excluded;
    DELETE FROM blackout_dates WHERE offering_id = p_offering_id AND day <> ALL (p_blackouts);
    INSERT INTO blackout_dates (offering_id, day) SELECT p_offering_id, unnest(p_blackouts) ON CONFLICT DO NOTHING;
END
$$;

-- Makes the future slots of an offering, from one local day to another and both included, what the rules say: in one
-- act, while others hold and book.
--
-- p_rules: [{"weekday" (0 is Monday), "start", "minutes", "max_bookings", "max_units"}]. p_resource_id is what each slot
-- takes up; without it, what the schedule so far says, or else the offering's slots. Answers {"outcome": ...}:
-- refreshed, with created, kept, legacy (held or sold, but in no rule any more), deleted (empty, and in no rule any
-- more) and blocked (something else takes the resource up at that time); unknown-offering, unknown-timezone,
-- several-resources.
--
-- A slot is the one that a rule means where it begins and ends with it. One that is held or sold keeps the resource that
-- it was held with.
CREATE OR REPLACE FUNCTION refresh_future_schedule(
    p_slug text,
    p_timezone text,
    p_rules jsonb,
    p_from date,
    p_until date,
    p_blackouts date[] DEFAULT '{}',
    p_resource_id uuid DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql
SET plan_cache_mode = force_custom_plan  -- a plan for ten slots is no plan for ten thousand
AS $$
DECLARE
    v_offering uuid;
    v_resources uuid[];
    v_resource uuid;
    v_begin timestamptz;
    v_end timestamptz;
    v_wanted schedule_time[];
    v_kept uuid[];
    v_gone uuid[];
    v_created integer;
    v_legacy integer;
    v_deleted integer;
BEGIN
    IF NOT is_timezone(p_timezone) THEN
        RETURN jsonb_build_object('outcome', 'unknown-timezone');
    END IF;
    -- The offering's row is the queue in which the changes of its schedule stand.
    SELECT id INTO v_offering FROM offerings WHERE slug = p_slug FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('outcome', 'unknown-offering');
    END IF;
    v_resource := coalesce(p_resource_id, (SELECT resource_id FROM schedules WHERE offering_id = v_offering));
    v_resources := ARRAY(
        SELECT DISTINCT resource_id FROM slots
        WHERE offering_id = v_offering AND starts_at > now() AND resource_id IS NOT NULL);
    IF v_resource IS NULL THEN
        IF cardinality(v_resources) > 1 THEN
            RETURN jsonb_build_object('outcome', 'several-resources');
        END IF;
        v_resource := v_resources[1];
    END IF;
    -- Two offerings that share a resource wait for each other here, and not for single slots, crosswise.
    PERFORM pg_advisory_xact_lock(hashtextextended(resource::text, 0))
    FROM (SELECT DISTINCT r FROM unnest(v_resources || v_resource) r WHERE r IS NOT NULL ORDER BY r) t (resource);

    v_begin := instant_of(p_from, p_timezone);
    v_end := instant_of(p_until + 1, p_timezone);
    PERFORM 1 FROM slots
    WHERE offering_id = v_offering AND starts_at >= v_begin AND starts_at < v_end AND starts_at > now()
    ORDER BY id FOR UPDATE;
    -- What has begun while we waited for the locks is past: it is neither changed nor made.
    v_begin := greatest(v_begin, clock_timestamp());
    v_wanted := ARRAY(
        SELECT w FROM schedule_times(p_timezone, p_rules, p_from, p_until, p_blackouts) w
        WHERE w.starts_at >= v_begin AND w.starts_at < v_end);

    v_kept := ARRAY(
        SELECT DISTINCT ON (s.starts_at, s.ends_at) s.id
        FROM unnest(v_wanted) w
        JOIN slots s ON s.offering_id = v_offering AND s.starts_at = w.starts_at AND s.ends_at = w.ends_at
        WHERE s.resource_id IS NOT DISTINCT FROM v_resource OR s.held_bookings + s.sold_bookings > 0
        ORDER BY s.starts_at, s.ends_at, s.held_bookings + s.sold_bookings = 0, s.is_legacy, s.id);
    UPDATE slots s SET
        is_legacy = false,
        max_bookings = greatest(w.max_bookings, s.held_bookings + s.sold_bookings),
        max_units = greatest(w.max_units, s.held_units + s.sold_units)
    FROM unnest(v_wanted) w
    WHERE s.offering_id = v_offering AND s.starts_at = w.starts_at AND s.ends_at = w.ends_at AND s.id = ANY (v_kept)
      AND (s.is_legacy, s.max_bookings, s.max_units) IS DISTINCT FROM (
          false, greatest(w.max_bookings, s.held_bookings + s.sold_bookings),
          greatest(w.max_units, s.held_units + s.sold_units));

    v_gone := ARRAY(
        SELECT id FROM slots
        WHERE offering_id = v_offering AND starts_at >= v_begin AND starts_at < v_end AND id <> ALL (v_kept));
    SELECT count(*) FILTER (WHERE held_bookings + sold_bookings > 0),
           count(*) FILTER (WHERE held_bookings + sold_bookings = 0 AND NOT is_legacy)
    INTO v_legacy, v_deleted FROM slots WHERE id = ANY (v_gone);
    DELETE FROM slots s
    WHERE s.id = ANY (v_gone) AND s.held_bookings + s.sold_bookings = 0
      AND NOT EXISTS (SELECT FROM reservation_items i WHERE i.slot_id = s.id)
      AND NOT EXISTS (SELECT FROM booking_items i WHERE i.slot_id = s.id);
    -- An empty slot that ended holds or bookings name is kept for them: it takes up nothing any more.
    UPDATE slots SET is_legacy = true, resource_id = CASE WHEN held_bookings + sold_bookings > 0 THEN resource_id END
    WHERE id = ANY (v_gone)
      AND (NOT is_legacy OR (held_bookings + sold_bookings = 0 AND resource_id IS NOT NULL));

    INSERT INTO slots (offering_id, resource_id, starts_at, ends_at, max_bookings, max_units)
    SELECT v_offering, v_resource, w.starts_at, w.ends_at, w.max_bookings, w.max_units
    FROM unnest(v_wanted) w
    WHERE NOT EXISTS (
        SELECT FROM slots s
        WHERE s.offering_id = v_offering AND s.starts_at = w.starts_at AND s.ends_at = w.ends_at
          AND s.id = ANY (v_kept))
    ORDER BY w.moved, w.starts_at
    ON CONFLICT DO NOTHING;  -- slots_resource_is_in_one_place_at_a_time: who has the resource keeps it
    GET DIAGNOSTICS v_created = ROW_COUNT;

    PERFORM keep_schedule(v_offering, p_timezone, v_resource, p_from, p_until, p_rules, p_blackouts);
    RETURN jsonb_build_object(
        'outcome', 'refreshed', 'created', v_created, 'kept', cardinality(v_kept), 'legacy', v_legacy,
        'deleted', v_deleted, 'blocked', cardinality(v_wanted) - cardinality(v_kept) - v_created);
END
$$;
