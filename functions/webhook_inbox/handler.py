"""`webhook-inbox`: applies what Stripe told while the database was away."""

from functions.webhook_inbox.service import apply_messages
from runtime.jobs import batch

lambda_handler = batch(apply_messages)
