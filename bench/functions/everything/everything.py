"""Imports every package that any layer carries, and boto3; then answers at once."""

from typing import Any

import boto3
import jwt
import psycopg
import pydantic
import requests
import sentry_sdk
import stripe
from aws_lambda_powertools import Logger, Metrics, event_handler
from aws_lambda_powertools.utilities import parameters

IMPORTED = (boto3, event_handler, jwt, parameters, psycopg, pydantic, requests, sentry_sdk, stripe)
LOGGER, METRICS = Logger(service="bench"), Metrics(service="bench", namespace="Bench")


def lambda_handler(_: dict[str, Any], __: Any) -> dict[str, Any]:
    """What Lambda invokes."""
    names = ",".join(module.__name__ for module in IMPORTED)
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": names}
