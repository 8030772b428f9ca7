"""Whether the promises hold, and what waits for somebody: asked on a schedule, and remembered for operators."""

from typing import Any

from database.connection import Connection, call

# What the view `invariant_violations` compares. Each is asked for by itself: the planner leaves the others out, and none
# needs more than a statement's time because all together would.
INVARIANTS = (
    "slot sells what it has",
    "slot counts its holds",
    "slot counts its bookings",
    "money ends in a booking, a refund or a dispute",
    "a refund that waits is asked for, unless a dispute has the money",
    "a booking is frozen while a dispute is open, and a lost one revokes it",
    "a paid booking says what became of its money",
    "a cancelled booking gives its share back",
    "refunds never exceed what was paid",
    "a paid booking has its payment",
    "a completed reservation has a booking",
    "seats go only after their payment is closed",
    "a balance is the sum of its entries",
    "what remains of a grant is the sum of its entries",
    "a booking has spent its credits, and says what became of them",
)


def count_violations(conn: Connection, invariant: str) -> int:
    """How often this one of `INVARIANTS` is broken: 0."""
    return call(conn, "SELECT count(*) FROM invariant_violations WHERE invariant = %s", [invariant])


def unsettled_figures(conn: Connection) -> dict[str, int]:
    """What waits for a person, and for how long what should not wait does; one round trip."""
    return call(conn, "SELECT unsettled_figures()")


def last_check(conn: Connection) -> tuple[bool, dict[str, Any] | None]:
    """Whether the tables are small enough to be counted at once, and what the last check has found, if there was one."""
    is_small, checked = call(conn, "SELECT jsonb_build_array(is_small, checked) FROM last_check()")
    return is_small, checked
