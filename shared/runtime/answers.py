"""What a route says of its answers. `docs/openapi.json` is made from it; no function imports it while it runs."""

from typing import Literal

from aws_lambda_powertools.event_handler import Response

type Answer[Body, Status = Literal[200]] = Response[str]
"""A body of this shape (a TypedDict; str for a page), with one of these statuses."""
