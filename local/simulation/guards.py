"""Guards that can be switched off, one at a time, to see that the simulation finds the hole: in the database alone."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from tests.concurrency.guards import execute, rewrite_function, sell_what_is_not_there

SLOT_LOCK = "PERFORM 1 FROM slots WHERE id = ANY (v_locked) ORDER BY id FOR NO KEY UPDATE;"
DEAD_HOLDS_LOCKED = "FOR NO KEY UPDATE SKIP LOCKED );"
NO_PAYMENT_OPEN = "AND r.payment_id IS NULL"
COUNTS = ("slots_never_oversold", "slots_counts_are_never_negative")

type Changes = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Guard:
    """What keeps a promise, how it is taken out, and whether the two checks on the counters have to go with it."""

    name: str
    functions: dict[str, Changes]
    without_counts: bool = False


GUARDS = (
    Guard(
        "slots are locked before they are counted",
        {"reserve_tickets": [(SLOT_LOCK, "")]},
        without_counts=True,
    ),
    Guard(
        "what is held and sold is counted before more is held",
        {
            "slots_have": [("SELECT bool_and(", "SELECT bool_or(true OR ")],
            "slots_can_take": [("SELECT bool_and(", "SELECT bool_or(true OR ")],
        },
        without_counts=True,
    ),
    Guard(
        "late money gets only seats that are free",
        {"seat_again_or_refund": [("THEN 'sold-out'", "THEN NULL")]},
        without_counts=True,
    ),
    Guard(
        "seats stay while their payment is open",
        {"reserve_tickets": [(NO_PAYMENT_OPEN, "")], "slots_left": [(NO_PAYMENT_OPEN, "")]},
    ),
    Guard(
        "a dead hold is taken back by one caller",
        {"reserve_tickets": [(DEAD_HOLDS_LOCKED, ");")]},
        without_counts=True,
    ),
    Guard(
        "a payment is closed before its hold goes",
        {"begin_close": [("ELSIF v_hold.payment_id IS NULL THEN", "ELSIF true THEN")]},
    ),
    Guard(
        "captured is a fact: money is placed once",
        {"lock_payment": [("'captured_amount', v_payment.captured_amount", "'captured_amount', 0")]},
    ),
    Guard(
        "one key of a hold is one hold",
        {
            "known_answer": [("AND key = p_key", "AND false")],
            "reserve_tickets": [("v_now, 201, v_answer);", "v_now, 201, v_answer) ON CONFLICT DO NOTHING;")],
        },
    ),
    Guard(
        "a payment is asked for under the key that its row names",
        {"payment_view": [("'idempotency_key', p.idempotency_key", "'idempotency_key', gen_random_uuid()")]},
    ),
    Guard(
        "a hold is released once",
        {
            "cancel_payment": [
                ("v_hold.status <> 'active' OR v_hold.payment_id IS DISTINCT FROM p_payment_id", "false")
            ]
        },
    ),
    Guard(
        "a dispute supersedes a refund that waits",
        {
            "save_refund": [
                (
                    "p_id, p_payment_id, p_amount, p_wanted, p_reason, p_status,",
                    """p_id, p_payment_id, p_amount, p_wanted, p_reason,
                    CASE WHEN p_superseded_by IS NULL THEN p_status ELSE 'pending' END,""",
                ),
                (
                    "IF p_status = 'pending' AND",
                    "IF (p_status = 'pending' OR p_superseded_by IS NOT NULL) AND",
                ),
            ]
        },
    ),
)


@contextmanager
def without(guard: Guard, owner_url: str) -> Generator[None]:
    """The database without the guard; as it was afterwards, once it is empty again."""
    with psycopg.connect(owner_url, autocommit=True) as conn:
        functions = [
            conn.execute("SELECT pg_get_functiondef(%s::regproc)", [name]).fetchall()[0][0]
            for name in guard.functions
        ]
        constraints = conn.execute(
            "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conname = ANY (%s)",
            [list(COUNTS)],
        ).fetchall()
    if guard.without_counts:
        sell_what_is_not_there(owner_url)
    for name, changes in guard.functions.items():
        rewrite_function(owner_url, name, *changes)
    try:
        yield
    finally:
        execute(
            owner_url,
            *functions,
            *(
                f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}, ADD CONSTRAINT {name} {definition}"
                for table, name, definition in constraints
            ),
        )
