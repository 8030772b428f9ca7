-- Credits: granted, spent on bookings, returned, expired. The entries are the truth; the balance and what remains of
-- each grant are their sums, moved by a trigger, so that whoever writes an entry moves both.

CREATE TABLE user_credits (
    -- The `sub` of the identity provider's token.
    user_id text PRIMARY KEY,
    balance integer NOT NULL DEFAULT 0,
    CONSTRAINT user_credits_are_never_below_zero CHECK (balance >= 0)
);

-- Credits that were granted together, and expire together. Those that expire first are spent first.
CREATE TABLE credit_grants (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id text NOT NULL REFERENCES user_credits,
    amount integer NOT NULL,
    remaining integer NOT NULL DEFAULT 0,
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT credit_grants_amount_is_positive CHECK (amount > 0),
    CONSTRAINT credit_grants_remain_within_their_amount CHECK (remaining BETWEEN 0 AND amount),
    -- For the entries, whose user is their grant's.
    CONSTRAINT credit_grants_belong_to_one_user UNIQUE (id, user_id)
);
CREATE INDEX credit_grants_of_a_user ON credit_grants (user_id);
CREATE INDEX credit_grants_by_expiry ON credit_grants (expires_at) WHERE remaining > 0;

CREATE TABLE credit_entries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL,
    grant_id uuid NOT NULL,
    -- Looked for at the commit: who books spends first, and makes the booking once that has worked.
    booking_id uuid REFERENCES bookings DEFERRABLE INITIALLY DEFERRED,
    kind text NOT NULL,
    delta integer NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT credit_entries_are_of_a_grant_of_their_user
        FOREIGN KEY (grant_id, user_id) REFERENCES credit_grants (id, user_id),
    CONSTRAINT credit_entries_kind_is_known CHECK (kind IN ('grant', 'spend', 'return', 'expire', 'deduct')),
    CONSTRAINT credit_entries_go_the_way_of_their_kind CHECK (
        delta <> 0 AND (delta > 0) = (kind IN ('grant', 'return'))
    ),
    CONSTRAINT credit_entries_of_a_booking_name_it CHECK ((kind IN ('spend', 'return')) = (booking_id IS NOT NULL)),
    CONSTRAINT credit_entries_spend_and_return_once UNIQUE (booking_id, grant_id, kind)
);
CREATE INDEX credit_entries_of_a_user ON credit_entries (user_id, id);
CREATE UNIQUE INDEX credit_entries_grant_once ON credit_entries (grant_id) WHERE kind = 'grant';

CREATE FUNCTION move_credits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE user_credits SET balance = balance + NEW.delta WHERE user_id = NEW.user_id;
    UPDATE credit_grants SET remaining = remaining + NEW.delta WHERE id = NEW.grant_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER credit_entries_move_the_balance AFTER INSERT ON credit_entries
    FOR EACH ROW EXECUTE FUNCTION move_credits();

CREATE FUNCTION refuse_credit_entry_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'credit_entries is append-only'
        USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'credit_entries_are_append_only';
END
$$;
CREATE TRIGGER credit_entries_are_append_only BEFORE UPDATE OR DELETE ON credit_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_credit_entry_change();
CREATE TRIGGER credit_entries_are_never_truncated BEFORE TRUNCATE ON credit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_credit_entry_change();

-- What a unit cost in credits at the moment of the hold; NULL where it was not for sale for credits.
ALTER TABLE reservation_items ADD COLUMN credits_price integer;
ALTER TABLE booking_items ADD COLUMN credits_price integer;

-- The functions read. What they change they change by functions/credits.sql, which act as the owner.
GRANT SELECT ON user_credits, credit_grants, credit_entries TO app;
