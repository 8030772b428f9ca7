-- What is sold, and the times at which it is sold.

CREATE TABLE offerings (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    slug text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    -- The price of one unit, in the currency's minor unit.
    unit_amount bigint NOT NULL,
    currency text NOT NULL,
    credits_price integer,
    timezone text NOT NULL,
    pay_on_arrival boolean NOT NULL DEFAULT false,
    -- What has sales is never deleted: it is retired, and its slots close.
    retired_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT offerings_slug_is_unique UNIQUE (slug),
    CONSTRAINT offerings_slug_fits_a_url CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'),
    CONSTRAINT offerings_kind_is_known CHECK (kind IN ('ticket', 'class', 'appointment', 'package')),
    CONSTRAINT offerings_price_is_sane CHECK (unit_amount BETWEEN 0 AND 999999999999),
    CONSTRAINT offerings_credits_price_is_positive CHECK (credits_price > 0),
    CONSTRAINT offerings_currency_is_lower_case_iso CHECK (currency ~ '^[a-z]{3}$')
);
CREATE TRIGGER offerings_version BEFORE UPDATE ON offerings FOR EACH ROW EXECUTE FUNCTION bump_version();

CREATE TABLE add_ons (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    offering_id uuid NOT NULL REFERENCES offerings,
    name text NOT NULL,
    unit_amount bigint NOT NULL,
    retired_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT add_ons_name_is_unique_in_its_offering UNIQUE (offering_id, name),
    CONSTRAINT add_ons_price_is_sane CHECK (unit_amount BETWEEN 0 AND 999999999999)
);
CREATE TRIGGER add_ons_version BEFORE UPDATE ON add_ons FOR EACH ROW EXECUTE FUNCTION bump_version();

-- A sellable time, date or event. It can be full in two ways: of bookings (a class takes twelve parties) and of
-- units (a hall has 120 seats). What is held and what is sold stands on the row itself, so that one row lock
-- decides a sale and one CHECK forbids selling what is not there.
CREATE TABLE slots (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    offering_id uuid NOT NULL REFERENCES offerings,
    -- The chair, room or person that the slot takes up; two slots of one resource never overlap.
    resource_id uuid,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    max_bookings integer NOT NULL,
    max_units integer NOT NULL,
    held_bookings integer NOT NULL DEFAULT 0,
    held_units integer NOT NULL DEFAULT 0,
    sold_bookings integer NOT NULL DEFAULT 0,
    sold_units integer NOT NULL DEFAULT 0,
    -- Left over from an older schedule: its bookings are honoured, nothing more is sold.
    is_legacy boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT slots_never_oversold CHECK (
        held_bookings + sold_bookings <= max_bookings AND held_units + sold_units <= max_units
    ),
    CONSTRAINT slots_counts_are_never_negative CHECK (
        held_bookings >= 0 AND held_units >= 0 AND sold_bookings >= 0 AND sold_units >= 0
    ),
    CONSTRAINT slots_end_after_they_start CHECK (ends_at > starts_at),
    CONSTRAINT slots_resource_is_in_one_place_at_a_time EXCLUDE USING gist (
        resource_id WITH =, tstzrange(starts_at, ends_at) WITH &&
    ) WHERE (resource_id IS NOT NULL)
) WITH (fillfactor = 70);  -- room for the next version on the same page: a hot slot's counts change all the time
CREATE INDEX slots_of_an_offering_in_order ON slots (offering_id, starts_at, id);

CREATE TABLE customers (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text NOT NULL,
    name text NOT NULL,
    phone text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX customers_email_is_unique ON customers (lower(email));

GRANT SELECT ON offerings, add_ons TO app;
GRANT SELECT, UPDATE ON slots TO app;
GRANT SELECT, INSERT, UPDATE, DELETE ON customers TO app;
