-- no-transaction
-- Second intents that Stripe has made for a payment: few, and looked for in every run.
CREATE INDEX CONCURRENTLY IF NOT EXISTS payments_stray ON payment_intents_log (next_reconcile_at)
WHERE idempotency_key LIKE 'found:%' AND captured_amount = 0 AND status <> 'canceled';
