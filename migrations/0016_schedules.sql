-- When an offering is open: what an administrator said last, from which its future slots were made.

CREATE TABLE schedules (
    offering_id uuid PRIMARY KEY REFERENCES offerings ON DELETE CASCADE,
    -- The zone in which rules and dates are read.
    timezone text NOT NULL,
    -- What every slot of the schedule takes up: a chair, a room, a person.
    resource_id uuid,
    starts_on date NOT NULL,
    ends_on date NOT NULL,
    CONSTRAINT schedules_end_after_they_start CHECK (starts_on <= ends_on)
);

-- A weekly opening time. Its clock is the wall's: what begins at nine begins at nine in winter and in summer.
CREATE TABLE schedule_rules (
    offering_id uuid NOT NULL REFERENCES schedules ON DELETE CASCADE,
    -- Monday is 0.
    weekday smallint NOT NULL,
    starts time NOT NULL,
    minutes integer NOT NULL,
    max_bookings integer NOT NULL,
    max_units integer NOT NULL,
    PRIMARY KEY (offering_id, weekday, starts, minutes),
    CONSTRAINT schedule_rules_name_a_weekday CHECK (weekday BETWEEN 0 AND 6),
    CONSTRAINT schedule_rules_last_a_day_at_most CHECK (minutes BETWEEN 1 AND 1440),
    CONSTRAINT schedule_rules_have_room CHECK (
        max_bookings BETWEEN 1 AND 1000000 AND max_units BETWEEN 1 AND 1000000
    )
);

CREATE TRIGGER audit_row AFTER INSERT OR UPDATE OR DELETE ON schedule_rules FOR EACH ROW EXECUTE FUNCTION audit_row();
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON schedule_rules FOR EACH STATEMENT EXECUTE FUNCTION audit_truncate();

-- Days on which no rule holds.
CREATE TABLE blackout_dates (
    offering_id uuid NOT NULL REFERENCES schedules ON DELETE CASCADE,
    day date NOT NULL,
    PRIMARY KEY (offering_id, day)
);

-- One time that the rules make. `moved`: it is not where its rule says, because the clocks go forward over it.
CREATE TYPE schedule_time AS (
    starts_at timestamptz, ends_at timestamptz, max_bookings integer, max_units integer, moved boolean
);

GRANT SELECT, INSERT, UPDATE, DELETE ON schedules, schedule_rules, blackout_dates TO app;
-- Slots come and go with their schedule; one that was ever held or sold is kept by those who name it.
GRANT INSERT, DELETE ON slots TO app;
-- Its row is locked while its schedule changes.
GRANT UPDATE ON offerings TO app;
