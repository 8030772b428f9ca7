"""`GET /bookings/{id}` and `GET /bookings`: who may see which bookings, and in what order."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.app import App, Hold
from tests.support.lambda_events import Answer, Context
from tests.support.postgres import on_every_postgres
from tests.support.sign_in import SECRET, request, token

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
MARY = {"authorization": f"Bearer {token(sub='mary')}"}
PETER = {"authorization": f"Bearer {token(sub='peter')}"}
ADMIN = {"authorization": f"Bearer {token(sub='boss', role='admin')}"}


@pytest.fixture(autouse=True)
def tokens(app: App) -> None:
    """The site's tokens are known."""
    app.set(JWT_SECRET=SECRET)


@pytest.fixture
def hold(app: App) -> Hold:
    return app.hold(app.slot(pay_on_arrival=True))


def seen(app: App, booking_id: str, headers: dict[str, str]) -> Answer:
    return app.call("bookings", "GET", f"/bookings/{booking_id}", headers=headers)


def listed(app: App, who: dict[str, str] = ADMIN, /, **query: str | int) -> Answer:
    return app.call("bookings", "GET", "/bookings", headers=who, query=urlencode(query))


@on_every_postgres
def test_token_owner_and_administrator_see_a_booking(app: App, hold: Hold) -> None:
    """The same as it was answered when it was made, with its version as ETag."""
    made = app.book(hold, **MARY)
    for headers in (hold.headers, MARY, ADMIN, hold.headers | PETER):
        answer = seen(app, made.body["id"], headers)
        assert (answer.status, answer.text, answer.headers["ETag"]) == (200, made.text, '"1"')


def test_anybody_else_does_not_learn_that_it_is_there(app: App, hold: Hold) -> None:
    """404: without anything, with another hold's token, signed in as another customer."""
    booking_id = app.book(hold, **MARY).body["id"]
    other = app.hold(app.slot())
    for headers in ({}, other.headers, PETER, other.headers | PETER, {"x-reservation-token": ""}):
        answer = seen(app, booking_id, headers)
        assert (answer.status, answer.problem) == (404, "unknown-booking")


def test_what_was_booked_without_a_sign_in_is_nobodys(app: App, hold: Hold) -> None:
    """No customer owns it; its token and administrators still see it."""
    booking_id = app.book(hold).body["id"]
    statuses = [seen(app, booking_id, headers).status for headers in (MARY, hold.headers, ADMIN)]
    assert statuses == [404, 200, 200]


@pytest.mark.parametrize("booking_id", ["00000000-0000-4000-8000-000000000000", "x", "0", "%00"])
def test_an_unknown_booking_is_404(app: App, booking_id: str) -> None:
    """Even to an administrator."""
    answer = seen(app, booking_id, ADMIN)
    assert (answer.status, answer.problem) == (404, "unknown-booking")


def test_a_paid_booking_is_seen_like_any_other(app: App) -> None:
    """As its payment has made it."""
    payment = app.booked(app.slot(), 2)
    booking_id = app.show(payment.hold)["booking_id"]
    body = seen(app, booking_id, payment.hold.headers).body
    assert (body["payment_method"], body["payment_status"], body["amount"]) == ("pay_now", "paid", 9000)


def test_booking_by_cookie_needs_the_csrf_token(app: App, hold: Hold) -> None:
    """403 without it, for the holder of the token, too; seeing does not."""
    session = token(sub="mary", csrf="abc")
    body = {"reservation_id": hold.id, "payment_method": "pay_on_arrival"}

    def asked(method: str, path: str, **parts: Any) -> Answer:
        event = request(method, path, cookie=session, **parts)
        if method == "POST":
            event["headers"]["content-type"] = "application/json"
            event["body"] = json.dumps(body)
        answered = app.handler("bookings")(event, Context())
        return Answer(answered["statusCode"], answered["body"], answered["headers"])

    refused = asked("POST", "/bookings", headers=hold.headers)
    assert (refused.status, refused.problem) == (403, "csrf")
    made = asked("POST", "/bookings", headers=hold.headers, csrf="abc")
    assert made.status == 201
    assert asked("GET", f"/bookings/{made.body['id']}").status == 200


@on_every_postgres
def test_the_list_is_for_administrators(app: App) -> None:
    """401 without a sign-in, 403 for customers."""
    assert listed(app, {}).problem == "unauthenticated"
    assert listed(app, MARY).problem == "forbidden"
    assert listed(app).body == {"bookings": []}


@on_every_postgres
def test_bookings_are_listed_newest_first_in_pages(app: App) -> None:
    """Each once, whole, across pages; made at one moment, they have an order all the same."""
    slot = app.slot(pay_on_arrival=True)
    made = [app.book(app.hold(slot)).body["id"] for _ in range(5)]
    app.rows("UPDATE bookings SET created_at = '2026-01-01' WHERE id = ANY (%s::uuid[])", made[:3])
    pages: list[list[dict[str, Any]]] = []
    cursor: dict[str, str] = {}
    while True:
        body = listed(app, limit=2, **cursor).body
        pages.append(body["bookings"])
        if "next" not in body:
            break
        cursor = {"cursor": body["next"]}
    found = [booking["id"] for page in pages for booking in page]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert found == [made[4], made[3], *sorted(made[:3], reverse=True)]
    for booking in pages[0]:
        assert booking == seen(app, booking["id"], ADMIN).body


@on_every_postgres
def test_the_list_is_of_a_status_and_an_offering(app: App) -> None:
    """One, the other or both; a booking of two offerings is in either's list."""
    opera, ballet = app.offering(pay_on_arrival=True), app.offering(pay_on_arrival=True)
    app.offering(slug="never-sold")
    evenings = app.slot(opera), app.slot(ballet)
    only_opera = app.book(app.hold(evenings[0])).body["id"]
    both = app.book(app.hold({evenings[0]: 1, evenings[1]: 1})).body["id"]
    app.rows("UPDATE bookings SET status = 'cancelled', payment_status = 'failed' WHERE id = %s", both)
    app.rows("UPDATE offerings SET retired_at = now()")

    def ids(**query: str) -> list[str]:
        return [booking["id"] for booking in listed(app, **query).body["bookings"]]

    assert ids() == ids(offering=opera) == [both, only_opera]
    assert ids(offering=ballet) == ids(status="cancelled") == [both]
    assert ids(offering=opera, status="confirmed") == [only_opera]
    assert ids(offering="never-sold") == ids(status="frozen") == []
    assert listed(app, offering="nothing").problem == "unknown-offering"
    first = listed(app, offering=opera, limit=1).body
    assert [booking["id"] for booking in first["bookings"]] == [both]
    last = listed(app, offering=opera, limit=1, cursor=first["next"]).body
    assert ([booking["id"] for booking in last["bookings"]], "next" in last) == ([only_opera], False)


def test_what_was_booked_before_there_was_a_list_of_offerings_is_in_it(app: App) -> None:
    """The migration lists older bookings, and once only those that are listed already."""
    opera = app.offering(pay_on_arrival=True)
    made = [app.book(app.hold(app.slot(opera))).body["id"] for _ in range(2)]
    app.rows("DELETE FROM offering_bookings WHERE booking_id = %s", made[0])
    app.rows((MIGRATIONS / "0027_older_bookings_by_offering.sql").read_text())
    found = listed(app, offering=opera).body["bookings"]
    assert [booking["id"] for booking in found] == made[::-1]


@pytest.mark.parametrize(
    "query",
    [
        {"status": "open"},
        {"limit": 0},
        {"limit": 201},
        {"cursor": "x"},
        {"offerings": "x"},
        {"offering": "\0"},
    ],
)
def test_a_query_that_does_not_fit_is_422(app: App, query: dict[str, Any]) -> None:
    """A status that there is not, a page without an end, what was never a `next`, a filter that there is not."""
    answer = listed(app, **query)
    assert (answer.status, answer.problem) == (422, "invalid-request")
