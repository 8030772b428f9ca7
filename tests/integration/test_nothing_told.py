"""No answer tells whether a thing exists to one who may not see it: another's and nobody's are answered alike."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from functions.admin.handler import app as admin
from functions.bookings.handler import app as bookings
from functions.create_payment_intent.handler import app as create_payment_intent
from functions.reservations.handler import app as reservations
from runtime.http import HttpFunction
from tests.support.app import App, Hold
from tests.support.lambda_events import Answer
from tests.support.sign_in import SECRET, token

NOBODYS = "00000000-0000-4000-8000-000000000000"
KEY = "the-owner-has-used-it"
MARY = {"authorization": f"Bearer {token(sub='mary')}"}
PETER = {"authorization": f"Bearer {token(sub='peter')}"}

type Route = tuple[str, str, str, dict[str, Any] | None]
# HOLD and BOOKING are ids, of what is another's or of what is not there.
ROUTES: list[Route] = [
    ("reservations", "GET", "/reservations/HOLD", None),
    ("reservations", "DELETE", "/reservations/HOLD", None),
    ("create-payment-intent", "POST", "/", {"reservation_id": "HOLD"}),
    (
        "create-payment-intent",
        "POST",
        "/",
        {"reservation_id": "HOLD", "mode": "checkout_session", "expected_amount": 1},
    ),
    ("bookings", "POST", "/bookings", {"reservation_id": "HOLD", "payment_method": "pay_on_arrival"}),
    ("bookings", "POST", "/bookings", {"reservation_id": "HOLD", "payment_method": "credits"}),
    ("bookings", "GET", "/bookings/BOOKING", None),
    ("bookings", "POST", "/bookings/BOOKING/cancel", {"reason": "r"}),
    ("bookings", "POST", "/bookings/BOOKING/cancel", {"surprise": 1}),
    ("bookings", "POST", "/bookings/BOOKING/reschedule", {"slot_id": NOBODYS}),
    ("bookings", "POST", "/bookings/BOOKING/refunds", {"reason": "r"}),
]
FUNCTIONS = {
    "reservations": reservations,
    "create-payment-intent": create_payment_intent,
    "bookings": bookings,
    "admin": admin,
}
EXTRAS = [{}, {"if-match": "1", "idempotency-key": KEY}]


@dataclass(frozen=True)
class Hers:
    """What Mary has: a hold with an open payment, a paid booking and one on arrival, which is hers by name."""

    hold: Hold
    paid: str
    booked: str


@pytest.fixture
def hers(app: App) -> Hers:
    app.set(JWT_SECRET=SECRET, RATE_LIMITS="off")
    slot = app.slot(pay_on_arrival=True)
    hold = app.hold(slot)
    assert app.pay(hold, key=KEY).status == 201
    paid = app.show(app.booked(slot).hold)["booking_id"]
    return Hers(hold, paid, app.book(app.hold(slot), **MARY).body["id"])


def routes_with_an_id(function: HttpFunction) -> list[tuple[str, re.Pattern[str]]]:
    return [each for each in function._methods if "[^/]+" in each[1].pattern]


def told(answer: Answer) -> tuple[int, Any, dict[str, str]]:
    """All that an answer says but the id of its request."""
    body = {name: value for name, value in answer.body.items() if name != "instance"}
    return (
        answer.status,
        body,
        {name: value for name, value in answer.headers.items() if name != "X-Request-Id"},
    )


def ask(app: App, route: Route, headers: Mapping[str, str], *, hold: str, booking: str) -> Answer:
    function, method, path, body = route
    filled = body and {name: hold if value == "HOLD" else value for name, value in body.items()}
    return app.call(function, method, path.replace("HOLD", hold).replace("BOOKING", booking), filled, headers)


def test_anothers_is_answered_as_what_is_not_there(app: App, hers: Hers) -> None:
    """Whatever a stranger sends along: nothing, another hold's token, another's sign-in, versions, an owner's key."""
    stranger = app.hold(app.slot(pay_on_arrival=True))
    before = app.dump()
    visitors = ({}, stranger.headers, PETER, stranger.headers | PETER)
    for route, who, extra in product(ROUTES, visitors, EXTRAS):
        nobodys = ask(app, route, who | extra, hold=NOBODYS, booking=NOBODYS)
        assert nobodys.status in (401, 403, 404), (route, nobodys)
        for booking in (hers.paid, hers.booked):
            anothers = ask(app, route, who | extra, hold=hers.hold.id, booking=booking)
            assert told(anothers) == told(nobodys), (route, who, extra)
    assert app.dump() == before


def test_whoever_may_see_it_is_answered_otherwise(app: App, hers: Hers) -> None:
    """Negative control: what is asked for is there."""
    assert ask(app, ROUTES[0], hers.hold.headers, hold=hers.hold.id, booking="").status == 200
    for booking, who in (
        (hers.booked, MARY),
        (hers.paid, {"authorization": f"Bearer {token(role='admin')}"}),
    ):
        assert app.call("bookings", "GET", f"/bookings/{booking}", headers=who).status == 200


@pytest.mark.parametrize("function", ["reservations", "bookings"])
def test_every_route_with_an_id_is_tried(function: str) -> None:
    """None that is added is left out."""
    tried = [(method, path) for name, method, path, _ in ROUTES if name == function]
    for method, pattern in routes_with_an_id(FUNCTIONS[function]):
        assert any(method == given and pattern.fullmatch(path) for given, path in tried), pattern.pattern


def test_administrators_routes_tell_nobody_else_anything(app: App, hers: Hers) -> None:
    """Every route with an id: a customer is answered 403 and a stranger 401, whatever is there and whatever they send."""
    offering = app.offering()
    before = app.dump()
    for method, pattern in routes_with_an_id(admin):
        answers = {
            who: {
                str(
                    told(
                        app.call("admin", method, pattern.pattern.replace("[^/]+", known), {"a": 1}, headers)
                    )
                )
                for known in (hers.paid, offering, NOBODYS)
            }
            for who, headers in (("stranger", {}), ("customer", PETER), ("holder", hers.hold.headers))
        }
        assert [len(each) for each in answers.values()] == [1, 1, 1], pattern.pattern
        assert answers["stranger"] == answers["holder"]
        assert [next(iter(answers[who]))[1:4] for who in ("stranger", "customer")] == ["401", "403"]
    assert app.dump() == before
