"""Guards of holds and payments that can be switched off, and all of them."""

from local.simulation.booking_guards import BOOKING_GUARDS
from local.simulation.guard import COUNTS, Guard

SLOT_LOCK = "PERFORM 1 FROM slots WHERE id = ANY (v_locked) ORDER BY id FOR NO KEY UPDATE;"
DEAD_HOLDS_LOCKED = "FOR NO KEY UPDATE SKIP LOCKED );"
NO_PAYMENT_OPEN = "AND r.payment_id IS NULL"

PAYMENT_GUARDS = (
    Guard(
        "slots are locked before they are counted",
        {"reserve_tickets": [(SLOT_LOCK, "")]},
        constraints=COUNTS,
    ),
    Guard(
        "what is held and sold is counted before more is held",
        {
            "slots_have": [("SELECT bool_and(", "SELECT bool_or(true OR ")],
            "slots_can_take": [("SELECT bool_and(", "SELECT bool_or(true OR ")],
        },
        constraints=COUNTS,
    ),
    Guard(
        "late money gets only seats that are free",
        {"seat_again_or_refund": [("THEN 'sold-out'", "THEN NULL")]},
        constraints=COUNTS,
    ),
    Guard(
        "seats stay while their payment is open",
        {"reserve_tickets": [(NO_PAYMENT_OPEN, "")], "slots_left": [(NO_PAYMENT_OPEN, "")]},
    ),
    Guard(
        "a dead hold is taken back by one caller",
        {"reserve_tickets": [(DEAD_HOLDS_LOCKED, ");")]},
        constraints=COUNTS,
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

GUARDS = (*PAYMENT_GUARDS, *BOOKING_GUARDS)
