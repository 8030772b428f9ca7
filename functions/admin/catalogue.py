"""What is sold, as administrators change it."""

import re
from typing import Any
from uuid import UUID

from database import offerings
from database.connection import Context
from domain.refusals import BY_SLUG, InvalidRequest, UnknownOffering
from functions.admin.connections import admin_database
from functions.admin.requests import OfferingRequest, SlotRequest

SLUG = re.compile(r"(?=.{1,100}\Z)[a-z0-9]+(-[a-z0-9]+)*")


def show_offering(slug: str) -> dict[str, Any]:
    """The offering with its add-ons and its version; raises `UnknownOffering`."""
    found = admin_database().run(lambda conn: offerings.fetch_offering(conn, slug))
    if found is None:
        raise UnknownOffering
    return found


def put_offering(
    slug: str, request: OfferingRequest, version: int | None, context: Context
) -> tuple[bool, dict[str, Any]]:
    """Makes the offering what is asked for: whether it is new, and what it is now.

    Raises `PreconditionRequired` where there is one and no version was named, `VersionConflict` where it is not of the
    named one, `OfferingHasSales`, `UnknownAddOn`, and `InvalidRequest` for a slug or a zone that cannot be, and for a slug
    or a version that is another than the one it was sent under.
    """
    if not SLUG.fullmatch(slug):
        raise InvalidRequest(
            errors=[{"pointer": "/slug", "detail": "Use a-z, 0-9 and single hyphens in between"}]
        )
    if request.slug not in (None, slug):
        raise InvalidRequest(errors=[{"pointer": "/slug", "detail": "Input should be the slug of the path"}])
    if version is not None and request.version not in (None, version):
        raise InvalidRequest(
            errors=[{"pointer": "/version", "detail": "Input should be the version of If-Match"}]
        )
    body = request.model_dump(mode="json", exclude={"slug", "version"})
    outcome = admin_database().run(
        lambda conn: offerings.put_offering(conn, slug, body, version=version, context=context)
    )
    match outcome.pop("outcome"):
        case "created" | "changed" as done:
            return done == "created", outcome["answer"]
        case refused:
            raise BY_SLUG[refused](**outcome)


def delete_offering(slug: str, version: int | None, context: Context) -> dict[str, str]:
    """`{"status"}`: deleted, or retired where some of it was held or sold. Raises `UnknownOffering`, `VersionConflict`."""
    outcome = admin_database().run(
        lambda conn: offerings.delete_offering(conn, slug, version=version, context=context)
    )
    match outcome.pop("outcome"):
        case "deleted" | "retired" as status:
            return {"status": status}
        case refused:
            raise BY_SLUG[refused](**outcome)


def set_slot_capacity(slot_id: UUID, request: SlotRequest, context: Context) -> dict[str, Any]:
    """The slot with as much room as is asked for; raises `UnknownSlot`, `BelowSold` with what is held and sold."""
    outcome = admin_database().run(
        lambda conn: offerings.set_slot_capacity(
            conn,
            slot_id,
            max_bookings=request.max_bookings,
            max_units=request.max_units,
            context=context,
        )
    )
    match outcome.pop("outcome"):
        case "changed":
            return outcome["answer"]
        case refused:
            raise BY_SLUG[refused](**outcome)
