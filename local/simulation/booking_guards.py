"""Guards of bookings, credits, schedules and the catalogue that can be switched off."""

from local.simulation.guard import COUNTS, Guard

CREDIT_CHECKS = ("user_credits_are_never_below_zero", "credit_grants_remain_within_their_amount")
IS_CANCELLED = "OR (v_refused IS NULL AND v_booking.status = 'cancelled')"

BOOKING_GUARDS = (
    Guard(
        "a payment is closed before its hold is booked otherwise",
        {"book_reservation": [("IF v_hold.payment_id IS NOT NULL THEN", "IF false THEN")]},
    ),
    Guard(
        "credits are locked before they are counted",
        {"take_credits": [("WHERE user_id = p_user_id FOR NO KEY UPDATE;", "WHERE user_id = p_user_id;")]},
        constraints=CREDIT_CHECKS,
    ),
    Guard(
        "credits are counted before they are spent",
        {
            "take_credits": [
                ("(p_credits > 0 AND credits_left(p_user_id) >= p_credits) IS NOT TRUE", "false")
            ],
            "book_reservation": [("credits_left(p_user_id) < v_credits", "false")],
        },
    ),
    Guard(
        "the price in credits is the hold's",
        {"book_reservation": [("i.credits_price", "o.credits_price")]},
    ),
    Guard(
        "one key is one grant",
        {"grant_credits": [("EXIT WHEN FOUND;", "EXIT;")]},
    ),
    Guard(
        "credits come back once",
        {
            "cancel_booking": [
                (IS_CANCELLED, ""),
                (
                    "PERFORM give_back_seats(p_booking_id);",
                    "IF v_booking.status <> 'cancelled' THEN PERFORM give_back_seats(p_booking_id); END IF;",
                ),
            ],
            "return_credits": [("NOT EXISTS", "true OR EXISTS")],
        },
        constraints=("credit_entries_spend_and_return_once", "credit_grants_remain_within_their_amount"),
    ),
    Guard(
        "seats of a booking are given back once",
        {"cancel_booking": [(IS_CANCELLED, "")]},
        constraints=COUNTS,
    ),
    Guard(
        "a booking is changed by who has seen its version",
        {"refused_change": [("p_booking.version IS DISTINCT FROM p_version", "p_version IS NULL")]},
    ),
    Guard(
        "a booking is locked before it is changed",
        {"lock_booking": [("WHERE id = p_booking_id FOR NO KEY UPDATE", "WHERE id = p_booking_id")]},
        constraints=COUNTS,
    ),
    Guard(
        "what is disputed is not changed",
        {"refused_change": [("p_booking.status = 'frozen'", "false")]},
    ),
    Guard(
        "refunds are counted before one is asked for",
        {
            "request_refund": [
                ("p_amount NOT BETWEEN 1 AND refundable_amount(p_payment_id)", "p_amount < 1")
            ],
            "check_refunds_fit_the_payment": [("v_refunds + NEW.amount > v_captured", "false")],
        },
    ),
    Guard(
        "one key is one refund",
        {
            "refund_booking": [
                ("ELSIF v_known IS NOT NULL THEN", "ELSIF false THEN"),
                ("now(), 202, v_answer);", "now(), 202, v_answer) ON CONFLICT DO NOTHING;"),
            ]
        },
    ),
    Guard(
        "a move gives the old seats back",
        {"reschedule_booking": [("ELSE -v_item.units END", "ELSE 0 END")]},
    ),
    Guard(
        "a line is moved to a slot that has room",
        {"reschedule_booking": [("ELSIF NOT slots_have(", "ELSIF false AND slots_have(")]},
        constraints=COUNTS,
    ),
    Guard(
        "slots are locked before a line is moved",
        {
            "reschedule_booking": [
                ("PERFORM 1 FROM slots WHERE id = ANY (v_slots) ORDER BY id FOR NO KEY UPDATE;", "")
            ]
        },
        constraints=COUNTS,
    ),
    Guard(
        "a move does not raise the share that comes back",
        {"reschedule_booking": [("refundable_percent = refund_percent(v_booking, p_policy),", "")]},
    ),
    Guard(
        "who pays on arrival is counted with who holds",
        {"reserve_tickets": [("b.payment_method = 'pay_on_arrival'", "false")]},
    ),
    Guard(
        "a slot has no less room than it has held and sold",
        {
            "set_slot_capacity": [
                ("v_slot.held_bookings + v_slot.sold_bookings > p_max_bookings", "false"),
                ("v_slot.held_units + v_slot.sold_units > p_max_units", "false"),
            ]
        },
        constraints=COUNTS,
    ),
    Guard(
        "a schedule leaves room for what is held and sold",
        {
            "refresh_future_schedule": [
                ("greatest(w.max_bookings, s.held_bookings + s.sold_bookings)", "w.max_bookings"),
                ("greatest(w.max_units, s.held_units + s.sold_units)", "w.max_units"),
            ]
        },
        constraints=COUNTS,
    ),
    Guard(
        "a slot that its schedule has left sells no more",
        {
            "reserve_tickets": [
                ("bool_or(s.is_legacy OR ", "bool_or("),
            ],
            "reschedule_booking": [("s.is_legacy OR ", "")],
        },
    ),
)
