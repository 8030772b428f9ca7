"""`docs/openapi.json`: what the generator finds in the code, and what it must not miss."""

import json
from typing import Any

import pytest

from domain import refusals
from local.paths import ROOT
from scripts.openapi.reach import reach

DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs" / "openapi.json").read_text())
OPERATIONS: dict[str, Any] = {
    operation["operationId"]: operation for path in DOCUMENT["paths"].values() for operation in path.values()
}
NAMED = {
    "reservations.post_reservation": "sold-out unknown-slot slot-closed mixed-currencies too-many-holds"
    " idempotency-key-reused invalid-idempotency-key malformed-request unsupported-media-type body-too-large",
    "reservations.get_reservation": "unknown-reservation",
    "reservations.delete_reservation": "already-paid unknown-reservation payment-provider-unavailable",
    "create-payment-intent.post_payment": "amount-mismatch request-in-progress payment-in-progress reservation-expired"
    " reservation-cancelled already-paid nothing-to-pay amount-not-chargeable payment-provider-unavailable",
    "stripe-webhook.post_event": "invalid-signature malformed-event",
    "bookings.post_booking": "already-paid insufficient-credits reservation-expired not-offered csrf unauthenticated",
    "bookings.get_booking": "unknown-booking",
    "bookings.post_cancel": "version-conflict precondition-required",
    "bookings.post_reschedule": "version-conflict precondition-required sold-out",
    "bookings.post_refund": "refund-exceeds-paid disputed forbidden",
    "log-error.post_error": "too-many-requests invalid-request",
}


def slugs_of(operation: dict[str, Any]) -> set[str]:
    """Every problem that the document knows of an operation."""
    found: set[str] = set()
    for said in operation["responses"].values():
        response = (
            DOCUMENT["components"]["responses"][said["$ref"].rpartition("/")[2]] if "$ref" in said else said
        )
        problem = response.get("content", {}).get("application/problem+json")
        if problem:
            types = problem["schema"]["allOf"][1]["properties"]["type"]["enum"]
            found |= {name.removeprefix("/problems/") for name in types}
    return found


@pytest.mark.parametrize("operation", NAMED)
def test_what_callers_are_promised_to_be_refused_is_documented(operation: str) -> None:
    """Also where a refusal is spelled out by an SQL function alone."""
    assert set(NAMED[operation].split()) <= slugs_of(OPERATIONS[operation])


def test_what_is_caught_is_not_documented() -> None:
    """`/ready` tells of a database that is away; whoever asks the same database for offerings is refused."""
    assert refusals.DatabaseUnavailable not in reach("functions.health.handler", "get_ready").refusals
    assert refusals.DatabaseUnavailable in reach("functions.reservations.handler", "get_offerings").refusals


def test_every_route_says_what_it_answers() -> None:
    """Each operation has a success with a shape of its own."""
    silent = [
        name
        for name, operation in OPERATIONS.items()
        if not any(
            status.startswith("2") and "content" in said for status, said in operation["responses"].items()
        )
    ]
    assert silent == []


def test_only_where_nobody_needs_to_be_known_is_nobody_asked() -> None:
    """Administrators' functions ask for a sign-in in every operation but the console's page."""
    open_to_all = [
        name for name, o in OPERATIONS.items() if name.startswith("admin.") and {} in o.get("security", [{}])
    ]
    assert open_to_all == ["admin.get_console"]
