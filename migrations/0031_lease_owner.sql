-- Whose call has the lease: one that is done again, because the answer of its COMMIT was lost, knows its own.
ALTER TABLE payment_intents_log ADD COLUMN lease_owner text;
