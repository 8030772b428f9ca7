-- The catalogue is changed by administrators, while it is on sale.

-- Whose call made the row what it is: made again after a lost COMMIT, it finds its own first run.
ALTER TABLE offerings ADD COLUMN request_id text;

-- What is not sold any more leaves its name to others; and two that swap their names do so in one statement, at the end of
-- which this is looked at. The table has a few rows a shop.
-- squawk-ignore ban-drop-constraint
ALTER TABLE add_ons DROP CONSTRAINT add_ons_name_is_unique_in_its_offering;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE add_ons ADD CONSTRAINT add_ons_name_is_unique_in_its_offering
    EXCLUDE USING btree (offering_id WITH =, name WITH =) WHERE (retired_at IS NULL) DEFERRABLE;

GRANT INSERT, UPDATE, DELETE ON offerings, add_ons TO app;
