"""`deliver-outbox`: refunds and notifications that are due; every minute, and right after a refund was written."""

from runtime.jobs import job

from functions.deliver_outbox.service import deliver

lambda_handler = job(deliver)
