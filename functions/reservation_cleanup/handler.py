"""`reservation-cleanup`: every five minutes, ends the holds that are over."""

from functions.reservation_cleanup.service import clean_up
from runtime.jobs import job

lambda_handler = job(clean_up)
