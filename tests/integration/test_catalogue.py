"""What is on sale: offerings, and slots with what could be held now."""

from datetime import datetime
from typing import Any

import pytest

from tests.support.app import App
from tests.support.postgres import on_every_postgres


def slots(app: App, offering: str, query: str = "") -> Any:
    answer = app.call("reservations", "GET", "/slots", query=f"offering={offering}{query}")
    assert answer.status == 200, answer
    return answer.body


def left(app: App, offering: str) -> list[tuple[int, int]]:
    return [(slot["units_left"], slot["bookings_left"]) for slot in slots(app, offering)["slots"]]


def test_offerings_are_listed_with_their_add_ons(app: App) -> None:
    """Every field that a caller relies on, and no retired add-on."""
    slug = app.offering(name="Concert", kind="class", credits_price=2, pay_on_arrival=True)
    add_on = app.add_on(slug, 600, "Programme")
    app.rows("UPDATE add_ons SET retired_at = now() WHERE id = %s", app.add_on(slug, 700, "Drink"))

    answer = app.call("reservations", "GET", "/offerings")

    assert answer.status == 200
    assert answer.body == {
        "offerings": [
            {
                "slug": slug,
                "name": "Concert",
                "kind": "class",
                "unit_amount": 4500,
                "currency": "eur",
                "credits_price": 2,
                "timezone": "Europe/Vienna",
                "pay_on_arrival": True,
                "add_ons": [{"id": add_on, "name": "Programme", "unit_amount": 600}],
            }
        ]
    }


def test_a_retired_offering_is_not_listed(app: App) -> None:
    """What is retired is neither listed nor found."""
    slug = app.offering(retired_at=datetime.now().astimezone())
    assert app.call("reservations", "GET", "/offerings").body == {"offerings": []}
    assert app.call("reservations", "GET", "/slots", query=f"offering={slug}").problem == "unknown-offering"


def test_slots_are_listed_in_order_with_what_is_left(app: App) -> None:
    """Future slots in order of their beginning, times in UTC, and what could be held now."""
    slug = app.offering()
    later = app.slot(slug, units=5, bookings=2, starts_in="2 days")
    sooner = app.slot(slug, units=7, bookings=3, starts_in="1 day")
    app.slot(slug, starts_in="-1 hour")
    app.rows("UPDATE slots SET is_legacy = true WHERE id = %s", app.slot(slug, starts_in="3 days"))

    listed = slots(app, slug)["slots"]

    assert [slot["id"] for slot in listed] == [sooner, later]
    assert left(app, slug) == [(7, 3), (5, 2)]
    assert set(listed[0]) == {"id", "offering", "starts_at", "ends_at", "units_left", "bookings_left"}
    assert listed[0]["offering"] == slug
    for name in ("starts_at", "ends_at"):
        assert listed[0][name].endswith("Z")
        assert datetime.fromisoformat(listed[0][name]) > datetime.now().astimezone()


@pytest.mark.parametrize("units", [1, 2, 7])
def test_pages_follow_each_other_without_gap_or_repetition(app: App, units: int) -> None:
    """`next` leads through all slots, each once, also those of one moment."""
    slug = app.offering()
    made = {app.slot(slug, starts_in=f"{1 + number // 3} days") for number in range(7)}

    seen: list[str] = []
    page = slots(app, slug, f"&limit={units}")
    seen += [slot["id"] for slot in page["slots"]]
    while "next" in page:
        page = slots(app, slug, f"&limit={units}&cursor={page['next']}")
        seen += [slot["id"] for slot in page["slots"]]

    assert len(seen) == 7
    assert set(seen) == made


def test_from_and_to_bound_the_beginning(app: App) -> None:
    """`from` is inclusive, `to` is exclusive."""
    slug = app.offering()
    first, second = app.slot(slug, starts_in="1 day"), app.slot(slug, starts_in="2 days")
    start = slots(app, slug)["slots"][1]["starts_at"]
    assert [slot["id"] for slot in slots(app, slug, f"&from={start}")["slots"]] == [second]
    assert [slot["id"] for slot in slots(app, slug, f"&to={start}")["slots"]] == [first]


def test_what_is_empty_in_a_query_is_not_there(app: App) -> None:
    """`GET /slots?offering=SLUG&from=&to=` as it is written has the first page of all."""
    slug = app.offering()
    slot = app.slot(slug)
    assert [each["id"] for each in slots(app, slug, "&from=&to=&cursor=&limit=")["slots"]] == [slot]


def test_a_plus_that_nobody_encoded_is_an_offset(app: App) -> None:
    """In a query it is a space; a time without an offset, and a day, are still refused."""
    slug = app.offering()
    slot = app.slot(slug)
    for after, found in (("2020-01-01T00:00:00+00:00", [slot]), ("2100-01-01T00:00:00.5+14:00", [])):
        assert [each["id"] for each in slots(app, slug, f"&from={after}")["slots"]] == found
    for wrong in ("2020-01-01", "2020-01-01+00:00", "2020-01-01T00:00:00", "2020-01-01T00:00:00++00:00"):
        query = f"offering={slug}&from={wrong}"
        assert app.call("reservations", "GET", "/slots", query=query).problem == "invalid-request", wrong


@pytest.mark.parametrize(
    "query",
    [
        "",
        "offering=",
        "offering=x&from=yesterday",
        "offering=x&from=2026-11-21T12:00:00",
        "offering=x&limit=0",
        "offering=x&limit=201",
        "offering=x&cursor=%21",
        "offering=x&cursor=bm9wZQ==",
        "offering=x&colour=red",
        "offering=a%00b",
    ],
)
def test_a_query_that_cannot_be_is_422(app: App, query: str) -> None:
    """What is missing, malformed or unknown in the query is 422."""
    assert app.call("reservations", "GET", "/slots", query=query).problem == "invalid-request"


def test_an_unknown_offering_is_404(app: App) -> None:
    """No such offering, no slots."""
    assert app.call("reservations", "GET", "/slots", query="offering=nope").problem == "unknown-offering"


@on_every_postgres
def test_units_left_is_what_could_be_held_now(app: App) -> None:
    """Held and sold seats are not left; those of a hold that is over are, at once, unless a payment is open for it."""
    slug = app.offering()
    slot = app.slot(slug, units=10, bookings=5)

    unpaid = app.hold(slot, 2)
    paying = app.payment(app.hold(slot, 3)).hold
    app.booked(slot, 1)
    assert left(app, slug) == [(4, 2)]

    app.expire(unpaid)
    assert left(app, slug) == [(6, 3)]
    app.expire(paying)
    assert left(app, slug) == [(6, 3)]
    assert app.counts(slot) == (5, 1, 2, 1)
