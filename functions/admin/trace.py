"""The whole story of a reservation, by any id of it."""

import re
from typing import Any

from database.trace import tell_story
from domain.refusals import NotFound
from functions.admin.connections import admin_database


def show_story(known_id: str) -> dict[str, Any]:
    """`{"reservation_id", "booking_id", "entries"}`, in order; raises `NotFound` for an id that nobody here knows."""
    if not re.fullmatch(r"[\w-]{1,255}", known_id, re.ASCII):
        raise NotFound
    story = admin_database().run(lambda conn: tell_story(conn, known_id))
    if not story["entries"]:
        raise NotFound
    return story
