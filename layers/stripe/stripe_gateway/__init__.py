"""The Stripe SDK behind a handful of verbs: create, fetch, find, close, refund, verify."""
