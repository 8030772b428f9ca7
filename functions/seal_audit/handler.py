"""`seal-audit`: every five minutes, chains what the audit has gained, and lets go of what is past its years."""

from functions.seal_audit.service import seal
from runtime.jobs import job

lambda_handler = job(seal)
