-- Three roles. The owner (whoever runs this) is used by migrations alone.
-- `app` is what the functions connect as: rows, no DDL, no TRUNCATE.
-- `error_writer` is what log-error connects as: an endpoint that anybody may call reaches the error tables only.

CREATE EXTENSION IF NOT EXISTS btree_gist;

DO $$
DECLARE
    v_role text;
BEGIN
    FOREACH v_role IN ARRAY ARRAY['app', 'error_writer'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN', v_role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- roles belong to the server: another database of it has made this one already
        END;
        -- Set on the role, not on the connection: a proxy in front refuses start-up options.
        -- A wait for a lock ends first, then the statement, then a transaction that its function forgot.
        EXECUTE format('ALTER ROLE %I SET lock_timeout = ''2s''', v_role);
        EXECUTE format('ALTER ROLE %I SET statement_timeout = ''5s''', v_role);
        EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''10s''', v_role);
    END LOOP;
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO app, error_writer;

-- RFC 3339 in UTC, the one form of time in every answer.
CREATE FUNCTION rfc3339(p_at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

-- The version of a row is the database's to count: whoever changes the row, by whatever path, changes it.
CREATE FUNCTION bump_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
