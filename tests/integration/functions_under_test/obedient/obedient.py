"""Answers what it is asked for, and tells what it sees."""

import importlib
import itertools
import json
import os
import sys
from typing import Any

from plain_words import describe  # pyright: ignore[reportMissingImports] - a layer's

served = itertools.count(1)


def answer(event: dict[str, Any], _context: object) -> Any:
    """The event itself, unless the path asks for something else."""
    path = event.get("rawPath", "/")
    if path == "/whoami":
        return {
            "pid": os.getpid(),
            "served": next(served),
            "words": describe(),
            "environment": dict(os.environ),
        }
    if path == "/import":
        importlib.import_module(event["queryStringParameters"]["name"])
        return {"path": sys.path}
    if path == "/as-told":
        return json.loads(event["body"])
    if path == "/large":
        return {"statusCode": 200, "body": "x" * int(event["queryStringParameters"]["size"])}
    if path == "/print":
        print("a plain line")
        print(json.dumps({"level": "INFO", "message": "a JSON line"}))
    return {"statusCode": 200, "body": json.dumps(event)}
