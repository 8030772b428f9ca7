"""`check-promises`: every five minutes, whether every promise holds and whether anything waits that should not."""

from functions.check_promises.service import check
from runtime.jobs import job

lambda_handler = job(check)
