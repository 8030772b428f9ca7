"""What is there to be called about: learned from the catalogue and from answers, and named in place of what is made up."""

from collections import defaultdict
from collections.abc import Mapping
from random import Random
from typing import Any, cast
from uuid import UUID

import psycopg
import requests

# How often a name that is known takes the place of one that was made up.
KNOWN = 0.8
KEPT = 50
FIRST_HOLDS = 9
PATIENCE_S = 30
USERS = ("ada", "brigitte")
# What a field's schema does not say, and few would guess.
TO_BEGIN_WITH = {
    "user_id": [*USERS],
    "act": ["resolve", "mute", "unmute"],
    "currency": ["eur", "jpy"],
    "timezone": ["Europe/Vienna", "UTC"],
}
UNGUESSED = {"cursor", "expected_amount", "expected_currency", "resource_id"}
# Fields of answers whose values other calls name, by the operation that answers them.
LEARNED = {
    "admin.get_webhook_events": ("events", "id", "event_id"),
    "admin.get_errors": ("errors", "fingerprint", "fingerprint"),
}
BOOKINGS = {f"bookings.{act}" for act in ("post_booking", "get_booking", "post_cancel", "post_reschedule")}


class Known:
    """The last names of each kind. A hold is `{"reservation_id", "token"}`, with `booking_id` and `version` once booked."""

    def __init__(self, stack: Mapping[str, Any], chance: Random) -> None:
        self.holds: list[dict[str, Any]] = []
        self._names: defaultdict[str, list[str]] = defaultdict(list, TO_BEGIN_WITH)
        self._chance = chance
        with psycopg.connect(stack["database_admin_url"]) as conn:
            slots = (
                "SELECT s.id, o.slug FROM slots s JOIN offerings o ON o.id = s.offering_id ORDER BY random()"
            )
            for slot_id, slug in conn.execute(slots).fetchmany(KEPT):
                self._learn("slot_id", str(slot_id))
                self._learn("slug", slug)
            for (add_on_id,) in conn.execute("SELECT id FROM add_ons"):
                self._learn("add_on_id", str(add_on_id))
        self._buy(stack)

    def _buy(self, stack: Mapping[str, Any]) -> None:
        """Some holds for a beginning: of each three one is booked, and one is paid."""
        reservations, bookings, payments = (
            stack["functions"][name] for name in ("reservations", "bookings", "create-payment-intent")
        )
        report = {"message": "the page broke", "severity": "warning"}
        self.learn_from(
            "log-error.post_error", _answer("POST", f"{stack['functions']['log-error']}/", json=report)
        )
        offered = _answer("GET", f"{reservations}/slots?offering=morning-yoga")["slots"]
        for number, slot in enumerate(offered[:FIRST_HOLDS]):
            customer = {"email": f"{number}@example.com", "name": "Ada"}
            order = {"items": [{"slot_id": slot["id"], "units": 1}], "customer": customer}
            hold = _answer("POST", f"{reservations}/reservations", json=order)
            self.learn_from("reservations.post_reservation", hold)
            token = {"X-Reservation-Token": hold["token"]}
            wish = {"reservation_id": hold["id"]}
            if number % 3 == 1:
                wish |= {"payment_method": "pay_on_arrival"}
                booking = _answer("POST", f"{bookings}/bookings", json=wish, headers=token)
                self.learn_from("bookings.post_booking", booking)
            elif number % 3 == 2:
                payment = _answer("POST", f"{payments}/", json=wish, headers=token)
                pay(stack["stripe"], payment, "pm_card_visa")

    def _learn(self, kind: str, name: str) -> None:
        self._names[kind].append(name)
        del self._names[kind][:-KEPT]

    def learn_from(self, operation: str, answer: Mapping[str, Any]) -> None:
        """Keeps what an answer names."""
        if operation in LEARNED:
            rows, field, kind = LEARNED[operation]
            for row in answer[rows]:
                self._learn(kind, row[field])
        elif operation == "log-error.post_error":
            self._learn("fingerprint", answer["fingerprint"])
        elif operation == "reservations.post_reservation":
            self.holds.append({"reservation_id": answer["id"], "token": answer["token"]})
            del self.holds[:-KEPT]
            self._learn("known_id", answer["id"])
        elif operation == "reservations.get_reservation" and "booking_id" in answer:
            self._booked(answer["id"], answer["booking_id"], 1)
        elif operation in BOOKINGS:
            self._booked(answer["reservation_id"], answer["id"], answer["version"])
            for item in answer["items"]:
                self._learn("item_id", item["id"])

    def _booked(self, reservation_id: str, booking_id: str, version: int) -> None:
        for hold in self.holds:
            if hold["reservation_id"] == reservation_id:
                hold |= {"booking_id": booking_id, "version": version}

    def in_place_of(self, made_up: Any, field: str = "") -> Any:
        """The same value, with known names for most of the texts that name something, and what nobody can guess left out."""
        if isinstance(made_up, dict):
            fields = cast("dict[str, Any]", made_up)
            return {
                name: self.in_place_of(part, f"{field}.{name}")
                for name, part in fields.items()
                if name not in UNGUESSED or self._chance.random() > KNOWN
            }
        if isinstance(made_up, list):
            return [self.in_place_of(part, field) for part in cast("list[Any]", made_up)]
        if isinstance(made_up, float) and made_up.is_integer():
            return int(made_up)  # to JSON Schema 1.0 is an integer too
        if not isinstance(made_up, str):
            return made_up
        kind = "add_on_id" if field.endswith("add_ons.id") else field.rpartition(".")[2]
        names = self._names.get("slug" if kind == "offering" else kind)
        if names and self._chance.random() < KNOWN:
            return self._chance.choice(names)
        return "".join(letter for letter in made_up if letter.isprintable()) or made_up

    def hold(self) -> dict[str, Any] | None:
        """A hold that most calls about holds and bookings are to be about; None: what was made up stays."""
        return self._chance.choice(self.holds) if self.holds and self._chance.random() < KNOWN else None


def pay(stripe: Mapping[str, Any], payment: Mapping[str, Any], card: str) -> None:
    """A buyer tries this card on a payment that create-payment-intent has answered."""
    if session := payment.get("checkout_session_id"):
        url = f"{stripe['api_base']}/_emulator/checkout/{session}/pay"
        requests.post(url, json={"payment_method": card}, timeout=PATIENCE_S)
    else:
        url = f"{stripe['api_base']}/v1/payment_intents/{payment['payment_intent_id']}/confirm"
        requests.post(url, data={"payment_method": card}, auth=(stripe["secret_key"], ""), timeout=PATIENCE_S)


def _answer(method: str, url: str, **given: Any) -> dict[str, Any]:
    answer = requests.request(method, url, timeout=PATIENCE_S, **given)
    answer.raise_for_status()
    return answer.json()


def is_uuid(value: object) -> bool:
    """Whether it is a text that could be an id."""
    try:
        UUID(str(value))
    except ValueError:
        return False
    return isinstance(value, str)
