"""Imports every package that any layer carries, ours among them, and boto3; then answers at once."""

from typing import Any

import boto3
import jwt
import psycopg
import requests
import sentry_sdk
import stripe
from aws_lambda_powertools.utilities import parameters

from database import catalogue, holds, operations, outbox, readiness, settlement, webhook_events
from payments import applying, closing, creating, settling
from runtime import auth, http, jobs, outbox_kick
from stripe_gateway import sdk

IMPORTED = (
    *(boto3, jwt, parameters, psycopg, requests, sentry_sdk, stripe),
    *(catalogue, holds, operations, outbox, readiness, settlement, webhook_events),
    *(applying, closing, creating, settling),
    *(auth, http, jobs, outbox_kick),
    sdk,
)


def lambda_handler(_: dict[str, Any], __: Any) -> dict[str, Any]:
    """What Lambda invokes."""
    names = ",".join(module.__name__ for module in IMPORTED)
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": names}
