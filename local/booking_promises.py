"""What holds of bookings however they came about: paid, with credits, on arrival, for free; cancelled and moved as well."""

from collections import Counter

from local.records import Records
from local.verdicts import GONE, RESERVATION_ID, Promise, contested_intents, going_back, told_with

# Why credits and money of a booking come back that its customer, or a person, has cancelled.
CANCELLED = "booking-cancelled"
# Stripe takes no other amounts than multiples of this (https://docs.stripe.com/currencies).
STEPS = {"isk": 100, "ugx": 100, "bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10}


def uncharged_where_unpaid(records: Records) -> Promise:
    """On arrival, with credits or for free: what was paid for such a reservation all the same goes back."""
    unpaid = {
        str(each["reservation_id"]): each for each in records.bookings if each["payment_method"] != "pay_now"
    }
    back, contested = going_back(records), contested_intents(records)
    charged = [
        f"{intent['id']}: {intent['amount_received']} for {unpaid[reservation]['id']}"
        for intent in records.intents.values()
        if (reservation := intent["metadata"].get(RESERVATION_ID, "")) in unpaid
        and back[intent["id"]] < intent["amount_received"]
        and intent["id"] not in contested
    ]
    wrong = [
        f"{each['id']}: {each['payment_method']} of {each['amount']}, payment {each['payment_intent_id']}"
        for each in unpaid.values()
        if each["payment_intent_id"] or (each["payment_method"] != "pay_on_arrival" and each["amount"])
    ]
    ways = Counter(each["payment_method"] for each in unpaid.values())
    return Promise(
        "who books by other means is not charged",
        f"{len(unpaid)} bookings",
        told_with(", ".join(f"{count} {way}" for way, count in sorted(ways.items())), wrong),
        told_with("none of them has an intent whose money was kept", charged),
        not wrong and not charged,
    )


def credits_spent_once(records: Records) -> Promise:
    """What was granted is spent, taken away, expired or still there; a booking has spent its price, once."""
    entries: Counter[str] = Counter()
    spent: Counter[tuple[str, str]] = Counter()
    for entry in records.credit_entries:
        entries[entry["user_id"]] += entry["delta"]
        if entry["kind"] == "spend":
            spent[str(entry["booking_id"]), entry["user_id"]] -= entry["delta"]
    wrong = [
        f"{user['user_id']}: balance {user['balance']}, entries {entries[user['user_id']]}, {user['remaining']} remain"
        for user in records.credit_users
        if not 0 <= user["balance"] == entries[user["user_id"]] == user["remaining"]
    ]
    price: Counter[tuple[str, str]] = Counter()
    for booking in records.bookings:
        if booking["payment_method"] == "credits":
            price[str(booking["id"]), booking["user_id"]] += booking["credits_price"]
            if booking["credits"] != booking["credits_price"]:
                wrong.append(f"{booking['id']}: {booking['credits']} for {booking['credits_price']}")
    wrong += [
        f"{booking}: spent {spent[booking, user]} of {user} for {price[booking, user]}"
        for booking, user in sorted(spent.keys() | price.keys())
        if spent[booking, user] != price[booking, user]
    ]
    kinds = Counter[str]()
    for entry in records.credit_entries:
        kinds[entry["kind"]] += abs(entry["delta"])
    return Promise(
        "credits are spent once, and the balance is its ledger",
        f"{len(records.credit_users)} balances",
        told_with(", ".join(f"{kinds[kind]} {kind}" for kind in ("grant", "spend", "return")), wrong),
        "",
        not wrong,
    )


def cancelled_by_policy(records: Records) -> Promise:
    """Of money and credits alike the share that the booking says, rounded down, once; nothing while it stands."""
    contested = contested_intents(records)
    returned = Counter[str]()
    for entry in records.credit_entries:
        if entry["kind"] == "return":
            returned[str(entry["booking_id"])] += entry["delta"]
    sent_back, otherwise = Counter[str](), Counter[str]()
    for refund in records.refunds:
        if refund["reason"] != CANCELLED:
            otherwise[refund["payment_intent_id"]] += 1
        elif refund["status"] not in GONE:
            sent_back[refund["payment_intent_id"]] += refund["amount"]
    wrong: list[str] = []
    cancelled = [booking for booking in records.bookings if booking["was_cancelled"]]
    for booking in records.bookings:
        intent, percent = (
            booking["payment_intent_id"],
            booking["refundable_percent"] * booking["was_cancelled"],
        )
        step = STEPS.get(booking["currency"], 1)
        money = booking["amount"] * percent // 100 // step * step if intent else 0
        credits_due = booking["credits"] * percent // 100
        less = intent in contested or otherwise[intent]  # then it may be less: never more than is left
        if (
            sent_back[intent] > money
            or (sent_back[intent] < money and not less)
            or returned[str(booking["id"])] != credits_due
        ):
            wrong.append(
                f"{booking['id']}: {percent} % is {money} and {credits_due} credits,"
                f" {sent_back[intent]} and {returned[str(booking['id'])]} come back"
            )
        if booking["was_cancelled"] != (booking["status"] == "cancelled") or (
            booking["was_cancelled"] and booking["payment_status"] == "pending"
        ):
            wrong.append(f"{booking['id']}: {booking['status']}, payment {booking['payment_status']}")
    return Promise(
        "a cancelled booking gives back what its policy says",
        f"{len(cancelled)} cancelled",
        told_with(
            f"{sum(sent_back.values())} minor units and {sum(returned.values())} credits come back", wrong
        ),
        "",
        not wrong,
    )


def seats_given_back(records: Records) -> Promise:
    """What a slot has left is what nobody holds and nobody has booked: neither less, so that it could be sold, nor more."""
    wrong = [
        f"{slot['id']}: says {slot['units_said']} units of {slot['parties_said']} parties,"
        f" they have {slot['units']} of {slot['parties']}"
        for slot in records.slots
        if (slot["units_said"], slot["parties_said"]) != (slot["units"], slot["parties"])
    ]
    ended = sum(booking["status"] in ("cancelled", "revoked") for booking in records.bookings)
    return Promise(
        "seats that are given back can be sold again",
        f"{len(records.slots)} slots",
        told_with(f"{ended} bookings have ended; each slot counts who is left", wrong),
        "",
        not wrong,
    )


def closed_slots_sell_no_more(records: Records) -> Promise:
    """A slot that its schedule has left keeps its bookings; by the audit, nobody has come to it since."""
    wrong = [f"{slot['id']}: {slot['came_later']}" for slot in records.closed_slots if slot["came_later"]]
    kept = sum(slot["sold_units"] for slot in records.closed_slots)
    return Promise(
        "a slot that its schedule has left sells no more",
        f"{len(records.closed_slots)} slots",
        told_with(f"{kept} seats sold there are honoured", wrong),
        "",
        not wrong,
    )
