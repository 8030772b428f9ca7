"""`reconcile-payments`: every quarter of an hour, looks for what Stripe could not tell us and we could not do."""

from functions.reconcile_payments.service import reconcile
from runtime.jobs import job

lambda_handler = job(reconcile)
