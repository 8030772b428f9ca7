-- What the functions change all the time, and write elsewhere (a slot's counts, a hold's deadline), or write once with the hold
-- (its lines and their prices), is worth an entry when somebody changes it by hand: who acts through a function has said so
-- to the transaction.
CREATE TRIGGER audit_raw_change AFTER UPDATE ON slots FOR EACH ROW WHEN (
    nullif(current_setting('holdfast.context', true), '') IS NULL
    AND (OLD.held_bookings, OLD.held_units, OLD.sold_bookings, OLD.sold_units)
        IS DISTINCT FROM (NEW.held_bookings, NEW.held_units, NEW.sold_bookings, NEW.sold_units)
) EXECUTE FUNCTION audit_row('{}', '{}');
CREATE TRIGGER audit_raw_change AFTER UPDATE ON ticket_reservations FOR EACH ROW WHEN (
    nullif(current_setting('holdfast.context', true), '') IS NULL
    AND (OLD.expires_at, OLD.ceiling_at, OLD.payment_id, OLD.closing_at, OLD.closing_as)
        IS DISTINCT FROM (NEW.expires_at, NEW.ceiling_at, NEW.payment_id, NEW.closing_at, NEW.closing_as)
) EXECUTE FUNCTION audit_row('{}', '{}');
CREATE TRIGGER audit_raw_insert AFTER INSERT ON reservation_items FOR EACH ROW
    WHEN (nullif(current_setting('holdfast.context', true), '') IS NULL) EXECUTE FUNCTION audit_row('{}', '{}');
CREATE TRIGGER audit_change AFTER UPDATE OR DELETE ON reservation_items FOR EACH ROW EXECUTE FUNCTION audit_row('{}', '{}');
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON reservation_items FOR EACH STATEMENT EXECUTE FUNCTION audit_truncate();
CREATE TRIGGER audit_raw_insert AFTER INSERT ON reservation_add_ons FOR EACH ROW
    WHEN (nullif(current_setting('holdfast.context', true), '') IS NULL) EXECUTE FUNCTION audit_row('{}', '{}');
CREATE TRIGGER audit_change AFTER UPDATE OR DELETE ON reservation_add_ons FOR EACH ROW EXECUTE FUNCTION audit_row('{}', '{}');
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON reservation_add_ons FOR EACH STATEMENT EXECUTE FUNCTION audit_truncate();
