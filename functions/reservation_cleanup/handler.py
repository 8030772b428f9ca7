"""`reservation-cleanup`: every five minutes, ends the holds that are over."""

from runtime.jobs import job

from functions.reservation_cleanup.service import clean_up

lambda_handler = job(clean_up)
