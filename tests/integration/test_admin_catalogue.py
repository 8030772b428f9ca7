"""`admin`: offerings and the room of slots, changed while they are on sale."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.support.app import App
from tests.support.lambda_events import Answer, Context
from tests.support.postgres import on_every_postgres
from tests.support.round_trips import proxied
from tests.support.sign_in import configure, request, token

type Call = Callable[..., Answer]

YOGA = {
    "name": "Yoga am Fluß 🧘",
    "kind": "class",
    "unit_amount": 1500,
    "currency": "eur",
    "credits_price": 2,
    "timezone": "Europe/Vienna",
    "pay_on_arrival": True,
    "add_ons": [{"name": "Mat", "unit_amount": 300}, {"name": "Towel", "unit_amount": 200}],
}


@pytest.fixture
def ask(app: App, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls `admin` as an administrator."""
    configure(monkeypatch)

    def call(
        method: str, path: str, body: object = None, *, version: object = None, context: Context | None = None
    ) -> Answer:
        headers = {} if version is None else {"if-match": str(version)}
        event = request(method, path, bearer=token(role="admin", sub="admin-1"), headers=headers)
        if body is not None:
            event |= {"body": body if isinstance(body, str) else json.dumps(body)}
        answered = app.handler("admin")(event, context or Context())
        return Answer(answered["statusCode"], answered["body"], answered["headers"])

    return call


def add_on(answer: Answer, name: str) -> dict[str, Any]:
    """The add-on of this name."""
    (found,) = [add_on for add_on in answer.body["add_ons"] if add_on["name"] == name]
    return found


def line(app: App, table: str) -> tuple[int, int | None, int | None]:
    """The price of the only line: of a unit, in credits, and of its add-on."""
    return app.row(
        f"""
        SELECT i.unit_amount, i.credits_price, a.unit_amount FROM {table}_items i
        LEFT JOIN {table}_add_ons a ON a.item_id = i.id
        """
    )


# Offerings.


@on_every_postgres
def test_an_offering_is_created_shown_and_changed(app: App, ask: Call) -> None:
    """A new one needs no version; a change names the one it has seen, and answers the next."""
    created = ask("PUT", "/offerings/yoga", YOGA)
    assert (created.status, created.headers["ETag"], created.body["version"]) == (201, '"1"', 1)
    assert {**created.body, "add_ons": None} == {
        **YOGA, "slug": "yoga", "retired": False, "version": 1, "add_ons": None,
    }  # fmt: skip
    assert [(a["name"], a["unit_amount"]) for a in created.body["add_ons"]] == [("Mat", 300), ("Towel", 200)]

    changed = ask("PUT", "/offerings/yoga", {**YOGA, "unit_amount": 1600}, version='"1"')
    assert (changed.status, changed.headers["ETag"]) == (200, '"2"')
    shown = ask("GET", "/offerings/yoga")
    assert (shown.status, shown.headers["ETag"], shown.body) == (200, '"2"', changed.body)
    assert shown.body["add_ons"] == created.body["add_ons"]

    (on_sale,) = app.call("reservations", "GET", "/offerings").body["offerings"]
    assert on_sale == {k: v for k, v in changed.body.items() if k not in ("retired", "version")}


def test_what_is_shown_can_be_sent_back(app: App, ask: Call) -> None:
    """By `GET /offerings` and by that of administrators; another's slug, and another version than If-Match's, is refused."""
    ask("PUT", "/offerings/yoga", YOGA)
    (on_sale,) = app.call("reservations", "GET", "/offerings").body["offerings"]
    shown = ask("GET", "/offerings/yoga").body
    for version, sent in ((1, on_sale), (2, {**shown, "version": 2})):
        changed = ask("PUT", "/offerings/yoga", sent, version=version)
        assert (changed.status, changed.body) == (200, shown | {"version": version + 1})
    assert ask("PUT", "/offerings/yoga", {**shown, "version": 3}).problem == "precondition-required"
    for pointer, sent in (("/slug", {**shown, "slug": "dance", "version": 3}), ("/version", shown)):
        refused = ask("PUT", "/offerings/yoga", sent, version=3)
        assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, pointer)
    ask("DELETE", "/offerings/yoga")
    again = ask("PUT", "/offerings/yoga", {**shown, "add_ons": [], "version": 3})
    assert (again.status, again.body["version"]) == (201, 1)


def test_who_has_not_seen_the_version_changes_nothing(app: App, ask: Call) -> None:
    """428 without If-Match, 412 with another version or any other text, and for what is not there."""
    ask("PUT", "/offerings/yoga", YOGA)
    before = app.dump()
    assert ask("PUT", "/offerings/yoga", YOGA).problem == "precondition-required"
    for version in (2, "*", 'W/"1"', "nonsense"):
        answer = ask("PUT", "/offerings/yoga", {**YOGA, "unit_amount": 1}, version=version)
        assert (answer.status, answer.problem, answer.body["version"]) == (412, "version-conflict", 1)
        assert ask("DELETE", "/offerings/yoga", version=version).status == 412
    answer = ask("PUT", "/offerings/dance", YOGA, version=1)
    assert (answer.status, answer.problem) == (412, "version-conflict")
    assert "version" not in answer.body
    assert app.dump() == before


def test_a_call_whose_commit_was_lost_finds_its_own_change(ask: Call) -> None:
    """Made again under its request's id it is answered as the first time, and changes nothing more."""
    once = Context()
    first = ask("PUT", "/offerings/yoga", YOGA, context=once)
    assert ask("PUT", "/offerings/yoga", YOGA, context=once) == first
    again = Context()
    second = ask("PUT", "/offerings/yoga", {**YOGA, "name": "Yoga"}, version=1, context=again)
    assert ask("PUT", "/offerings/yoga", {**YOGA, "name": "Yoga"}, version=1, context=again) == second
    assert second.body["version"] == 2


def test_the_price_of_what_is_held_does_not_change(app: App, ask: Call) -> None:
    """Case 33: unit, add-on and credits cost what they did when they were held, on the booking's lines too."""
    created = ask("PUT", "/offerings/yoga", YOGA)
    slot, mat = app.slot("yoga"), add_on(created, "Mat")
    wanted = app.hold_request(slot)
    wanted["items"][0]["add_ons"] = [{"id": mat["id"], "quantity": 1}]
    hold = app.call("reservations", "POST", "/reservations", wanted).body
    dearer = {**YOGA, "unit_amount": 9900, "credits_price": 9, "add_ons": [{**mat, "unit_amount": 9900}]}
    assert ask("PUT", "/offerings/yoga", dearer, version=1).status == 200

    assert line(app, "reservation") == (1500, 2, 300)
    headers = {"x-reservation-token": hold["token"]}
    paid = app.call("create-payment-intent", "POST", "/", {"reservation_id": hold["id"]}, headers).body
    assert paid["amount"] == 1800
    app.stripe_client.v1.payment_intents.confirm(
        paid["payment_intent_id"], {"payment_method": "pm_card_visa"}
    )
    app.outcome(app.event(paid["payment_intent_id"], "payment_intent.succeeded"))
    assert line(app, "booking") == (1500, 2, 300)
    assert app.value("SELECT amount FROM bookings") == 1800


def test_add_ons_are_changed_by_id_or_by_name(ask: Call) -> None:
    """What is left out is sold no more, and is the same one when it comes back; names may be swapped."""
    created = ask("PUT", "/offerings/yoga", YOGA)
    mat, towel = add_on(created, "Mat"), add_on(created, "Towel")

    swapped = [{**mat, "name": "Towel"}, {**towel, "name": "Mat"}]
    answer = ask("PUT", "/offerings/yoga", {**YOGA, "add_ons": swapped}, version=1)
    assert [add_on(answer, name)["id"] for name in ("Towel", "Mat")] == [mat["id"], towel["id"]]

    renamed = [{**mat, "name": "Shawl"}, {"name": "Towel", "unit_amount": 1}]
    answer = ask("PUT", "/offerings/yoga", {**YOGA, "add_ons": renamed}, version=2)
    assert add_on(answer, "Shawl")["id"] == mat["id"]
    assert add_on(answer, "Towel")["id"] not in (mat["id"], towel["id"])
    assert len(answer.body["add_ons"]) == 2

    back = [{"name": "Mat", "unit_amount": 500}]
    answer = ask("PUT", "/offerings/yoga", {**YOGA, "add_ons": back}, version=3)
    assert answer.body["add_ons"] == [{"id": towel["id"], "name": "Mat", "unit_amount": 500}]


def test_an_add_on_that_is_left_out_is_sold_no_more(app: App, ask: Call) -> None:
    """A hold on it is refused; another offering's add-on cannot be taken over."""
    created = ask("PUT", "/offerings/yoga", YOGA)
    slot, mat = app.slot("yoga"), add_on(created, "Mat")
    assert ask("PUT", "/offerings/yoga", {**YOGA, "add_ons": []}, version=1).body["add_ons"] == []
    wanted = app.hold_request(slot)
    wanted["items"][0]["add_ons"] = [{"id": mat["id"], "quantity": 1}]
    assert app.call("reservations", "POST", "/reservations", wanted).problem == "unknown-add-on"

    before = app.dump()
    stolen = {**YOGA, "add_ons": [mat]}
    assert ask("PUT", "/offerings/dance", stolen).problem == "unknown-add-on"
    assert app.dump() == before


def test_what_has_sales_keeps_its_kind_and_currency(app: App, ask: Call) -> None:
    """While something is held, and for good once something is sold; before that, both may change."""
    ask("PUT", "/offerings/yoga", YOGA)
    slot = app.slot("yoga")
    assert ask("PUT", "/offerings/yoga", {**YOGA, "currency": "usd"}, version=1).status == 200
    hold = app.hold(slot)
    for change in ({"currency": "jpy"}, {"kind": "ticket"}):
        answer = ask("PUT", "/offerings/yoga", {**YOGA, "currency": "usd", **change}, version=2)
        assert (answer.status, answer.problem) == (409, "offering-has-sales")
    app.cancel(hold)
    assert ask("PUT", "/offerings/yoga", YOGA, version=2).status == 200
    app.booked(slot)
    app.rows("SELECT give_back_seats(id) FROM bookings")
    answer = ask("PUT", "/offerings/yoga", {**YOGA, "currency": "jpy"}, version=3)
    assert answer.problem == "offering-has-sales"
    assert ask("PUT", "/offerings/yoga", {**YOGA, "name": "Hot yoga"}, version=3).status == 200


def test_a_retired_offering_is_not_on_sale_until_it_is_brought_back(app: App, ask: Call) -> None:
    ask("PUT", "/offerings/yoga", YOGA)
    slot = app.slot("yoga")
    assert ask("PUT", "/offerings/yoga", {**YOGA, "retired": True}, version=1).body["retired"] is True
    assert app.call("reservations", "GET", "/offerings").body["offerings"] == []
    assert app.try_hold(slot).problem == "slot-closed"
    assert ask("PUT", "/offerings/yoga", YOGA, version=2).body["retired"] is False
    assert app.try_hold(slot).status == 201


def test_what_was_never_held_or_sold_is_deleted(app: App, ask: Call) -> None:
    """With its slots and add-ons; its slug is free again."""
    ask("PUT", "/offerings/yoga", YOGA)
    app.slot("yoga")
    answer = ask("DELETE", "/offerings/yoga", version=1)
    assert (answer.status, answer.body) == (200, {"status": "deleted"})
    assert [app.count(table) for table in ("offerings", "add_ons", "slots")] == [0, 0, 0]
    assert ask("DELETE", "/offerings/yoga").problem == "unknown-offering"
    assert ask("GET", "/offerings/yoga").problem == "unknown-offering"
    assert ask("PUT", "/offerings/yoga", YOGA).status == 201


def test_what_was_sold_is_retired_and_never_deleted(app: App, ask: Call) -> None:
    """Its bookings stand; said again it is the same, and its version too."""
    ask("PUT", "/offerings/yoga", YOGA)
    app.booked(app.slot("yoga"))
    for _ in range(2):
        assert ask("DELETE", "/offerings/yoga").body == {"status": "retired"}
    assert ask("GET", "/offerings/yoga").body["version"] == 2
    assert app.count("bookings") == 1
    assert app.violations() == []


# Slots.


def test_a_slot_gets_more_or_less_room(app: App, ask: Call) -> None:
    """What it has is what is left to buyers at once."""
    slot = app.slot(units=10, bookings=5)
    app.hold(slot, 2)
    answer = ask("PUT", f"/slots/{slot}", {"max_bookings": 1, "max_units": 2})
    assert (answer.status, answer.body["max_units"], answer.body["held_units"]) == (200, 2, 2)
    assert app.try_hold(slot).problem == "sold-out"
    assert ask("PUT", f"/slots/{slot}", {"max_bookings": 20, "max_units": 30}).status == 200
    assert app.try_hold(slot, 28).status == 201
    assert app.violations() == []


def test_a_slot_never_gets_less_than_it_has_held_and_sold(app: App, ask: Call) -> None:
    """In units and in bookings; the answer says how much that is."""
    slot = app.slot(units=10, bookings=5)
    app.booked(slot, 3)
    app.hold(slot, 2)
    before = app.dump()
    for less in ({"max_bookings": 1, "max_units": 10}, {"max_bookings": 5, "max_units": 4}):
        answer = ask("PUT", f"/slots/{slot}", less)
        assert (answer.status, answer.problem) == (409, "below-sold")
        counts = [answer.body[f"{what}_{of}"] for what in ("held", "sold") for of in ("bookings", "units")]
        assert counts == [1, 2, 1, 3]
    assert app.dump() == before
    assert ask("PUT", f"/slots/{uuid4()}", less).problem == "unknown-slot"
    assert ask("PUT", "/slots/nonsense", less).problem == "unknown-slot"


def test_a_hold_that_is_over_keeps_no_room(app: App, ask: Call) -> None:
    """It is released in the same act, in all of its slots."""
    slot, other = app.slot(units=10), app.slot(units=10)
    app.expire(app.hold({slot: 4, other: 4}))
    assert ask("PUT", f"/slots/{slot}", {"max_bookings": 0, "max_units": 0}).status == 200
    assert app.counts(other) == (0, 0, 0, 0)
    assert app.violations() == []


# What cannot be.


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "a\u0007b"}, "/name"),
        ({"name": "a\u0085b"}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"kind": "car"}, "/kind"),
        ({"unit_amount": -1}, "/unit_amount"),
        ({"unit_amount": 10**12}, "/unit_amount"),
        ({"unit_amount": 10**30}, "/unit_amount"),
        ({"unit_amount": 1.5}, "/unit_amount"),
        ({"unit_amount": "1"}, "/unit_amount"),
        ({"currency": "EUR"}, "/currency"),
        ({"currency": "xyz"}, "/currency"),
        ({"credits_price": 0}, "/credits_price"),
        ({"timezone": "Europe/Atlantis"}, "/timezone"),
        ({"timezone": "CEST"}, "/timezone"),
        ({"timezone": "+02:00"}, "/timezone"),
        ({"pay_on_arrival": 1}, "/pay_on_arrival"),
        ({"version": "1"}, "/version"),
        ({"slug": "dance"}, "/slug"),
        ({"created_at": "2026-11-21"}, "/created_at"),
        ({"add_ons": [{"name": "Mat", "unit_amount": -1}]}, "/add_ons/0/unit_amount"),
        ({"add_ons": [{"name": "Mat", "unit_amount": 1}] * 2}, "/add_ons"),
        ({"add_ons": [{"name": f"{number}", "unit_amount": 1} for number in range(101)]}, "/add_ons"),
        ({"add_ons": [{"id": "x", "name": "Mat", "unit_amount": 1}]}, "/add_ons/0/id"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_an_offering_that_cannot_be_is_refused_by_its_field(
    app: App, ask: Call, change: dict[str, Any], pointer: str
) -> None:
    """422 that names it; nothing is there afterwards."""
    answer = ask("PUT", "/offerings/yoga", {**YOGA, **change})
    assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, pointer)
    assert app.count("offerings") == 0


@pytest.mark.parametrize(
    "slot",
    [
        {"max_bookings": -1, "max_units": 1},
        {"max_bookings": 1, "max_units": -1},
        {"max_bookings": 1, "max_units": 2**31},
        {"max_bookings": True, "max_units": 1},
        {"max_units": 1},
        {"max_bookings": None, "max_units": 1},
    ],
    ids=str,
)
def test_a_capacity_that_cannot_be_is_refused(app: App, ask: Call, slot: dict[str, Any]) -> None:
    known = app.slot()
    before = app.dump()
    answer = ask("PUT", f"/slots/{known}", slot)
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert app.dump() == before


@pytest.mark.parametrize("slug", ["Yoga", "yoga-", "yo--ga", "yo_ga", "x" * 101, "y%C3%B6ga", ".."])
def test_a_slug_that_fits_no_url_is_refused(app: App, ask: Call, slug: str) -> None:
    assert ask("PUT", f"/offerings/{slug}", YOGA).status in (404, 422)
    assert app.count("offerings") == 0


def test_ten_thousand_add_ons_are_too_many(app: App, ask: Call) -> None:
    """As are bytes that are no JSON."""
    many = [{"name": f"{number}", "unit_amount": 1} for number in range(10_000)]
    assert ask("PUT", "/offerings/yoga", {**YOGA, "add_ons": many}).status == 413
    assert ask("PUT", "/offerings/yoga", '{"name": "\ud800"}').status == 400
    assert app.count("offerings") == 0


def test_each_change_is_one_round_trip(app: App, ask: Call) -> None:
    """Whatever it has to look at before."""
    slot = app.slot(ask("PUT", "/offerings/yoga", YOGA).body["slug"])
    with proxied(app.app_url) as (proxy, url):
        app.set(DATABASE_URL=url)
        assert ask("GET", "/offerings/yoga").status == 200
        proxy.count()
        for act in (
            lambda: ask("PUT", "/offerings/yoga", YOGA, version=1),
            lambda: ask("PUT", f"/slots/{slot}", {"max_bookings": 1, "max_units": 1}),
            lambda: ask("DELETE", "/offerings/yoga"),
        ):
            assert act().status == 200
            assert proxy.count() == 1
        app.forget()
