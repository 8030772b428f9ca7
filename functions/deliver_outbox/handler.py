"""`deliver-outbox`: refunds and notifications that are due; every minute, and right after a refund was written."""

from functions.deliver_outbox.service import deliver
from runtime.jobs import job

lambda_handler = job(deliver)
