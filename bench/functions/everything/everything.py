"""Imports every package that any layer carries, and boto3; then answers at once."""

from typing import Any

import aws_lambda_powertools.event_handler
import aws_lambda_powertools.utilities.parameters
import boto3
import jwt
import psycopg
import pydantic
import requests
import sentry_sdk
import stripe

IMPORTED = (aws_lambda_powertools, boto3, jwt, psycopg, pydantic, requests, sentry_sdk, stripe)


def lambda_handler(_: dict[str, Any], __: Any) -> dict[str, Any]:
    """What Lambda invokes."""
    names = ",".join(module.__name__ for module in IMPORTED)
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": names}
