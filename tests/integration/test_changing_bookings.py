"""A booking cancelled, moved to another slot, refunded: by its policy, once, by whom it belongs to."""

from collections.abc import Generator, Mapping
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.booking import parse_cancel_policy
from tests.support.app import App, Hold
from tests.support.lambda_events import Answer
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres
from tests.support.receiver import Receiver, receiving
from tests.support.sign_in import SECRET, token

HALF_LATER = "48h:100%,24h:50%"


@pytest.fixture(autouse=True)
def signing(app: App) -> None:
    """The site signs its users in."""
    app.set(JWT_SECRET=SECRET)


@pytest.fixture
def site(app: App) -> Generator[Receiver]:
    """What the site's back end is told."""
    with receiving() as receiver:
        app.set(NOTIFICATION_WEBHOOK_URL=f"{receiver.url}/told")
        yield receiver


def told(site: Receiver, what: str) -> list[dict[str, Any]]:
    """The notifications of a type, as they came."""
    return [body for received in site.received if (body := received.document)["type"] == what]


def bearer(**claims: object) -> dict[str, str]:
    return {"authorization": f"Bearer {token(SECRET, **claims)}"}


ADMIN: Mapping[str, object] = {"sub": "boss", "role": "admin"}


def id_of(app: App, hold: Hold) -> str:
    return str(app.value("SELECT id FROM bookings WHERE reservation_id = %s", hold.id))


def bought(app: App, wanted: str | dict[str, int], units: int = 1) -> tuple[str, Hold]:
    """A booking that is paid, at version 1."""
    payment = app.payment(app.hold(wanted, units))
    app.confirm(payment)
    assert app.outcome(app.event(payment.intent_id, "payment_intent.succeeded")) == "processed"
    return id_of(app, payment.hold), payment.hold


def by_credits(app: App, slot: str, user_id: str = "ada", units: int = 1) -> tuple[str, Hold]:
    """A booking of a signed-in user that is paid with credits, which they had ten of before."""
    app.rows("SELECT grant_credits(%s, 10, NULL, 'ten', 'test', %s, '')", user_id, str(uuid4()))
    hold = app.hold(slot, units)
    assert app.book(hold, "credits", **bearer(sub=user_id)).status == 201
    return id_of(app, hold), hold


def cancel(app: App, booking_id: str, headers: Mapping[str, str], version: int = 1) -> Answer:
    path, given = f"/bookings/{booking_id}/cancel", {**headers, "if-match": f'"{version}"'}
    return app.call("bookings", "POST", path, {"reason": "I am ill, ada@example.com"}, given)


def move(app: App, booking_id: str, hold: Hold, slot: str, version: int = 1, **body: str) -> Answer:
    path, given = f"/bookings/{booking_id}/reschedule", {**hold.headers, "if-match": str(version)}
    return app.call("bookings", "POST", path, {"slot_id": slot, **body}, given)


def refund(app: App, booking_id: str, amount: int | None = None, key: str | None = None) -> Answer:
    body = {"reason": "a bad view"} | ({"amount": amount} if amount else {})
    given = bearer(**ADMIN) | ({"idempotency-key": key} if key else {})
    return app.call("bookings", "POST", f"/bookings/{booking_id}/refunds", body, given)


def starts_in(app: App, slot: str, interval: str) -> None:
    app.rows(
        "UPDATE slots SET starts_at = now() + %s::interval, ends_at = now() + interval '99 days' WHERE id = %s",
        interval,
        slot,
    )


def tell_all(app: App, *object_ids: str) -> None:
    """Stripe says all that it has to say of these objects."""
    for object_id in object_ids:
        for event in app.events(object_id):
            assert app.deliver(event).status == 200


def state(app: App, booking_id: str) -> tuple[Any, ...]:
    return app.row("SELECT status, payment_status FROM bookings WHERE id = %s", booking_id)


# Cancelling.


@on_every_postgres
def test_cancelling_in_time_gives_the_seats_and_all_of_the_money_back(app: App, site: Receiver) -> None:
    """The answer says what goes back; Stripe sends it; the customer hears of both."""
    slot = app.slot()
    booking_id, hold = bought(app, slot, 2)
    answer = cancel(app, booking_id, hold.headers)
    assert (answer.status, answer.headers["ETag"]) == (200, '"2"')
    assert (answer.body["status"], answer.body["version"]) == ("cancelled", 2)
    assert answer.body["refund"]["amount"] == 9000
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []
    app.invoke("deliver-outbox")
    assert state(app, booking_id) == ("cancelled", "refunded")
    (word,) = told(site, "cancelled")
    assert (word["booking_id"], word["amount"], word["currency"]) == (booking_id, 9000, "eur")
    assert word["customer"]["email"] == hold.email
    assert app.violations() == []


def test_a_cancelled_booking_is_answered_as_it_is(app: App) -> None:
    """Who cancels again, at the version that there is, hears the same and changes nothing; it is not moved any more."""
    booking_id, hold = bought(app, app.slot())
    there = app.slot()
    first = cancel(app, booking_id, hold.headers)
    before = app.dump()
    again = cancel(app, booking_id, hold.headers, version=2)
    assert (again.status, again.body) == (200, first.body)
    moved = move(app, booking_id, hold, there, version=2)
    assert (moved.status, moved.problem) == (409, "booking-not-active")
    assert app.dump() == before


def test_the_audit_knows_who_cancelled_and_why(app: App) -> None:
    """By the token a customer, signed in a user, and the reason without what must not be kept."""
    booking_id, hold = bought(app, app.slot())
    assert cancel(app, booking_id, hold.headers | bearer(sub="ada")).status == 200
    assert set(
        app.rows(
            """
            SELECT performed_by, performed_by_id, reason FROM booking_audit_log
            WHERE booking_id = %s AND new_values ->> 'status' = 'cancelled'
            """,
            booking_id,
        )
    ) == {("customer", "ada", "I am ill, [email]")}


@pytest.mark.parametrize(
    ("ahead", "percent"),
    [
        ("48 hours 1 minute", 100),
        ("47 hours 59 minutes", 50),
        ("24 hours 1 minute", 50),
        ("23 hours", 0),
        ("-1 hour", 0),
    ],
)
def test_the_policy_says_what_goes_back(app: App, ahead: str, percent: int) -> None:
    """All until 48 hours before the start, half until 24, then nothing; the seats go back whatever it says."""
    app.set(CANCEL_POLICY=HALF_LATER)
    slot = app.slot(unit_amount=4501)
    booking_id, hold = bought(app, slot)
    starts_in(app, slot, ahead)
    answer = cancel(app, booking_id, hold.headers)
    assert answer.status == 200
    assert answer.body.get("refund", {}).get("amount", 0) == 4501 * percent // 100
    assert app.rows("SELECT amount FROM refunds") == ([(4501 * percent // 100,)] if percent else [])
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []


def test_the_database_reckons_the_share_as_the_policy_says(app: App) -> None:
    """The first step whose hours are still ahead of the first slot; nothing where none is; never more than was left."""
    slot = app.slot()
    booking_id, _ = bought(app, slot)
    hours = st.lists(st.integers(0, 300), min_size=1, max_size=4, unique=True)
    percents = st.lists(st.integers(0, 100), min_size=4, max_size=4, unique=True)

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(hours, percents, st.integers(0, 300 * 60), st.integers(0, 100))
    def check(hours: list[int], percents: list[int], minutes: int, most: int) -> None:
        steps = list(zip(sorted(hours, reverse=True), sorted(percents, reverse=True), strict=False))
        policy = parse_cancel_policy(",".join(f"{hour}h:{percent}%" for hour, percent in steps))
        # Half a minute more than whole minutes: no step is that near.
        starts_in(app, slot, f"{minutes} minutes 30 seconds")
        app.rows("UPDATE bookings SET refundable_percent = %s", most)
        expected = next((percent for hour, percent in policy if hour * 60 <= minutes), 0)
        found = app.value(
            "SELECT refund_percent(b, %s::jsonb) FROM bookings b WHERE id = %s",
            str([list(step) for step in policy]),
            booking_id,
        )
        assert found == min(expected, most)

    check()


@pytest.mark.parametrize(
    ("currency", "price", "half"), [("jpy", 4501, 2250), ("jod", 4510, 2250), ("isk", 45_300, 22_600)]
)
def test_a_share_is_rounded_down_to_what_the_currency_has(
    app: App, currency: str, price: int, half: int
) -> None:
    """Stripe takes no other amount: JOD in tens, ISK in hundreds."""
    app.set(CANCEL_POLICY="1h:50%")
    booking_id, hold = bought(app, app.slot(unit_amount=price, currency=currency))
    assert cancel(app, booking_id, hold.headers).body["refund"]["amount"] == half


def test_a_currency_that_is_charged_no_more_goes_back_by_the_policy(app: App) -> None:
    """And not as a whole, because nobody knows its steps."""
    app.set(CANCEL_POLICY="1h:50%")
    booking_id, hold = bought(app, app.slot())
    app.rows("UPDATE bookings SET currency = 'hrk'")
    assert cancel(app, booking_id, hold.headers, version=2).body["refund"]["amount"] == 2250


def test_cancelling_gives_back_no_more_than_is_left(app: App) -> None:
    """What was given back by hand is not given again."""
    booking_id, hold = bought(app, app.slot())
    assert refund(app, booking_id, 4000).status == 202
    assert cancel(app, booking_id, hold.headers).body["refund"]["amount"] == 500
    assert app.violations() == []


@on_every_postgres
def test_credits_come_back_once(app: App) -> None:
    """All in time, to their owner; once, however often it is cancelled."""
    slot = app.slot(credits_price=3)
    booking_id, _ = by_credits(app, slot, units=2)
    assert app.value("SELECT balance FROM user_credits") == 4
    answer = cancel(app, booking_id, bearer(sub="ada"))
    assert (answer.status, answer.body["returned_credits"]) == (200, 6)
    assert state(app, booking_id) == ("cancelled", "refunded")
    assert cancel(app, booking_id, bearer(sub="ada"), version=2).status == 200
    assert app.value("SELECT balance FROM user_credits") == 10
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []


def test_many_credits_come_back(app: App) -> None:
    """So many that a hundred times as many are no integer."""
    app.grant("ada", 50_000_000)
    booking_id, _ = by_credits(app, app.slot(units=50, credits_price=1_000_000), units=50)
    assert cancel(app, booking_id, bearer(sub="ada")).body["returned_credits"] == 50_000_000
    assert app.violations() == []


@pytest.mark.parametrize(("units", "back"), [(1, 1), (2, 3)])
def test_a_share_of_credits_is_whole_credits(app: App, units: int, back: int) -> None:
    """Half of three is one."""
    app.set(CANCEL_POLICY="1h:50%")
    booking_id, hold = by_credits(app, app.slot(credits_price=3), units=units)
    assert cancel(app, booking_id, hold.headers).body["returned_credits"] == back
    assert app.value("SELECT balance FROM user_credits") == 10 - 3 * units + back
    assert state(app, booking_id) == ("cancelled", "partially_refunded")
    assert app.violations() == []


def test_too_late_no_credits_come_back(app: App) -> None:
    """What was paid stays paid."""
    slot = app.slot(credits_price=3)
    booking_id, hold = by_credits(app, slot)
    starts_in(app, slot, "1 hour")
    assert "returned_credits" not in cancel(app, booking_id, hold.headers).body
    assert state(app, booking_id) == ("cancelled", "paid")
    assert app.value("SELECT balance FROM user_credits") == 7
    assert app.violations() == []


@pytest.mark.parametrize(
    ("method", "price", "paid"),
    [("pay_on_arrival", {"pay_on_arrival": True}, "failed"), ("free", {"unit_amount": 0}, "free")],
)
def test_what_is_not_paid_is_owed_no_more(app: App, method: str, price: dict[str, Any], paid: str) -> None:
    """On arrival nothing is due, and of what is free nothing goes back."""
    slot = app.slot(**price)
    hold = app.hold(slot)
    assert app.book(hold, method).status == 201
    booking_id = id_of(app, hold)
    assert cancel(app, booking_id, hold.headers).status == 200
    assert state(app, booking_id) == ("cancelled", paid)
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []


@on_every_postgres
def test_a_cancelled_booking_stays_cancelled_whatever_is_said_of_its_money(app: App) -> None:
    """Its refund fails, the payment is disputed, and the dispute is lost: its seats have gone back once."""
    slot = app.slot()
    booking_id, hold = bought(app, slot)
    assert cancel(app, booking_id, hold.headers).status == 200
    app.invoke("deliver-outbox")
    intent_id, made = app.row(
        "SELECT payment_intent_id, stripe_refund_id FROM refunds f JOIN payment_intents_log p ON p.id = f.payment_id"
    )
    assert app.emulator.act(f"/refunds/{made}", outcome="failed")[0] == 200
    tell_all(app, made)
    assert state(app, booking_id) == ("cancelled", "paid")
    dispute_id = app.emulator.act("/disputes", payment_intent=intent_id)[1]["id"]
    tell_all(app, dispute_id)
    assert state(app, booking_id) == ("cancelled", "disputed")
    for outcome in ("under_review", "lost"):
        assert app.emulator.act(f"/disputes/{dispute_id}", outcome=outcome)[0] == 200
    tell_all(app, dispute_id)
    assert state(app, booking_id) == ("cancelled", "disputed")
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []


# Who may, and at which version.


def test_who_may_not_see_a_booking_may_not_change_it(app: App) -> None:
    """Nobody, somebody else's token, another user: 404, whether it is there or not."""
    slot = app.slot(credits_price=3)
    booking_id, _ = by_credits(app, slot)
    _, other = bought(app, slot)
    before = app.dump()
    for headers in ({}, other.headers, bearer(sub="eve")):
        answer = cancel(app, booking_id, headers)
        assert (answer.status, answer.problem) == (404, "unknown-booking")
        assert cancel(app, str(uuid4()), headers).problem == "unknown-booking"
    assert cancel(app, "no-uuid", bearer(**ADMIN)).problem == "unknown-booking"
    assert app.dump() == before


def test_an_administrator_cancels_by_the_same_policy(app: App) -> None:
    """More than that they give back by a refund."""
    slot = app.slot()
    booking_id, _ = bought(app, slot)
    starts_in(app, slot, "1 hour")
    answer = cancel(app, booking_id, bearer(**ADMIN))
    assert answer.status == 200
    assert "refund" not in answer.body
    assert refund(app, booking_id).status == 202
    assert app.rows("SELECT amount FROM refunds") == [(4500,)]


@pytest.mark.parametrize("what", ["cancel", "reschedule"])
def test_a_change_names_the_version_that_it_is_of(app: App, what: str) -> None:
    """Without If-Match 428; with another version 412, with the one that there is."""
    booking_id, hold = bought(app, app.slot())
    path = f"/bookings/{booking_id}/{what}"
    body = {"reason": "ill"} if what == "cancel" else {"slot_id": app.slot()}
    before = app.dump()
    missing = app.call("bookings", "POST", path, body, hold.headers)
    assert (missing.status, missing.problem) == (428, "precondition-required")
    for version in ("2", '"0"', "*", "one"):
        wrong = app.call("bookings", "POST", path, body, hold.headers | {"if-match": version})
        assert (wrong.status, wrong.problem, wrong.body["version"]) == (412, "version-conflict", 1)
    assert app.dump() == before


@pytest.mark.parametrize(("status", "problem"), [("frozen", "disputed"), ("revoked", "booking-not-active")])
def test_what_a_dispute_has_taken_is_not_changed(app: App, status: str, problem: str) -> None:
    """While the bank decides, and once it has decided against us."""
    booking_id, hold = bought(app, app.slot())
    app.rows("UPDATE bookings SET status = %s", status)
    for answer in (cancel(app, booking_id, hold.headers, 2), move(app, booking_id, hold, app.slot(), 2)):
        assert (answer.status, answer.problem) == (409, problem)


# Moving.


@on_every_postgres
def test_a_move_takes_the_new_seats_and_gives_the_old_ones_back(app: App, site: Receiver) -> None:
    """At the price that was paid; who and what before and after are in the audit; the customer is told."""
    offering = app.offering()
    here, there = app.slot(offering), app.slot(offering, starts_in="40 days")
    booking_id, hold = bought(app, here, 2)
    app.rows("UPDATE offerings SET unit_amount = 9900")
    answer = move(app, booking_id, hold, there)
    assert (answer.status, answer.headers["ETag"]) == (200, '"2"')
    (item,) = answer.body["items"]
    assert (item["slot_id"], item["units"], item["unit_amount"]) == (there, 2, 4500)
    assert (app.counts(here), app.counts(there)) == ((0, 0, 0, 0), (0, 2, 0, 1))
    assert state(app, booking_id) == ("confirmed", "paid")
    assert app.rows(
        """
        SELECT old_values ->> 'slot_id', new_values ->> 'slot_id' FROM booking_audit_log
        WHERE table_name = 'booking_items' AND action_type = 'update'
        """
    ) == [(here, there)]
    assert move(app, booking_id, hold, here, 2).status == 200
    app.invoke("deliver-outbox")
    moves = [(word["from_slot_id"], word["slot_id"]) for word in told(site, "rescheduled")]
    assert sorted(moves) == sorted([(here, there), (there, here)])
    assert app.violations() == []


def test_a_move_to_where_it_is_changes_nothing(app: App) -> None:
    """The same version is answered."""
    slot = app.slot()
    booking_id, hold = bought(app, slot)
    before = app.dump()
    assert move(app, booking_id, hold, slot).body["version"] == 1
    assert app.dump() == before


def test_a_move_to_a_full_slot_changes_nothing(app: App) -> None:
    """409 with what is left there; in either dimension."""
    offering = app.offering()
    booking_id, hold = bought(app, app.slot(offering), 2)
    no_units, no_bookings = app.slot(offering, units=2), app.slot(offering, units=9, bookings=1)
    for slot in (no_units, no_bookings):
        app.hold(slot)
    before = app.dump()
    refused = move(app, booking_id, hold, no_units)
    assert (refused.status, refused.problem) == (409, "sold-out")
    assert refused.body["left"] == [{"slot_id": no_units, "units_left": 1, "bookings_left": 1}]
    assert "waiting" not in refused.body
    assert move(app, booking_id, hold, no_bookings).problem == "sold-out"
    assert app.dump() == before


def test_a_move_takes_seats_that_dead_holds_keep(app: App) -> None:
    """A hold that is over and has no payment open stands in nobody's way."""
    offering = app.offering()
    there = app.slot(offering, units=1)
    booking_id, hold = bought(app, app.slot(offering))
    dead = app.hold(there)
    app.expire(dead)
    assert move(app, booking_id, hold, there).status == 200
    assert app.status(dead) == "expired"
    assert app.counts(there) == (0, 1, 0, 1)
    assert app.violations() == []


def test_a_move_comes_again_for_dead_holds_that_another_call_has_in_hand(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other call is just giving back is not sold out."""
    offering = app.offering()
    there = app.slot(offering, units=1)
    booking_id, hold = bought(app, app.slot(offering))
    app.expire(app.hold(there))
    with psycopg.connect(app.owner_url) as other:
        other.execute("SELECT FROM ticket_reservations WHERE status = 'active' FOR UPDATE")
        monkeypatch.setattr("functions.bookings.changing.time.sleep", lambda _: other.rollback())
        assert move(app, booking_id, hold, there).status == 200
    assert app.violations() == []


@pytest.mark.parametrize(
    ("spoilt", "problem"),
    [
        ("UPDATE slots SET is_legacy = true WHERE id = '{there}'", "slot-closed"),
        ("UPDATE slots SET starts_at = now() WHERE id = '{there}'", "slot-closed"),
        ("UPDATE slots SET starts_at = now() WHERE id = '{here}'", "slot-closed"),
        ("UPDATE offerings SET retired_at = now()", "slot-closed"),
        (
            "UPDATE slots SET offering_id = o.id FROM offerings o WHERE o.slug = '{other}' AND slots.id = '{there}'",
            "not-offered",
        ),
    ],
)
def test_a_move_goes_to_an_open_slot_of_the_same_offering(app: App, spoilt: str, problem: str) -> None:
    """No legacy slot, none that has begun, nothing retired, no other offering; and not after its own beginning."""
    offering = app.offering()
    here, there = app.slot(offering), app.slot(offering)
    booking_id, hold = bought(app, here)
    app.rows(spoilt.format(here=here, there=there, other=app.offering()))
    before = app.dump()
    answer = move(app, booking_id, hold, there)
    assert (answer.status, answer.problem) == (409, problem)
    assert app.dump() == before


def test_a_legacy_slot_may_be_left(app: App) -> None:
    """Its bookings are honoured, and may go."""
    offering = app.offering()
    here, there = app.slot(offering), app.slot(offering)
    booking_id, hold = bought(app, here)
    app.rows("UPDATE slots SET is_legacy = true WHERE id = %s", here)
    assert move(app, booking_id, hold, there).status == 200


def test_of_several_items_one_is_named(app: App) -> None:
    """422 that says so; another booking's item is none of it; the named one moves alone."""
    offering = app.offering()
    one, two, there = (app.slot(offering) for _ in range(3))
    bought(app, one)
    others = str(app.value("SELECT id FROM booking_items"))
    booking_id, hold = bought(app, {one: 1, two: 2})
    shown = app.call("bookings", "GET", f"/bookings/{booking_id}", headers=hold.headers).body
    (item,) = [item["id"] for item in shown["items"] if item["slot_id"] == two]
    before = app.dump()
    nameless = move(app, booking_id, hold, there)
    stranger = move(app, booking_id, hold, there, item_id=others)
    for refused in (nameless, stranger):
        assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, "/item_id")
    assert app.dump() == before
    assert move(app, booking_id, hold, there, item_id=item).status == 200
    assert [app.counts(slot)[1] for slot in (one, two, there)] == [2, 0, 2]
    assert app.violations() == []


def test_whoever_moves_far_ahead_and_cancels_gets_what_cancelling_would_have_given(app: App) -> None:
    """The share of the moment of the move is the most that ever comes back."""
    app.set(CANCEL_POLICY=HALF_LATER)
    offering = app.offering()
    soon, later = app.slot(offering), app.slot(offering, starts_in="60 days")
    booking_id, hold = bought(app, soon)
    starts_in(app, soon, "30 hours")
    assert move(app, booking_id, hold, later).status == 200
    assert cancel(app, booking_id, hold.headers, 2).body["refund"]["amount"] == 2250


# Refunds.


def test_a_refund_of_a_part_and_of_the_rest(app: App) -> None:
    """202 with the refund; the booking stays; what is left is refunded without an amount; then nothing is left."""
    booking_id, _ = bought(app, app.slot())
    part = refund(app, booking_id, 1000)
    assert part.status == 202
    assert part.body == {
        "id": str(app.value("SELECT id FROM refunds")),
        "booking_id": booking_id,
        "payment_id": str(app.value("SELECT id FROM payment_intents_log")),
        "amount": 1000,
        "currency": "eur",
        "status": "pending",
        "reason": "a bad view",
    }
    too_much = refund(app, booking_id, 3501)
    assert (too_much.status, too_much.problem) == (422, "refund-exceeds-paid")
    assert refund(app, booking_id).body["amount"] == 3500
    assert refund(app, booking_id).problem == refund(app, booking_id, 1).problem == "refund-exceeds-paid"
    app.invoke("deliver-outbox")
    assert state(app, booking_id) == ("confirmed", "refunded")
    assert app.violations() == []


def test_a_refund_under_a_key_is_made_once(app: App) -> None:
    """The same answer, byte for byte; another body under the key is refused."""
    booking_id, _ = bought(app, app.slot())
    first, again = (refund(app, booking_id, 1000, key="once") for _ in range(2))
    assert (first.status, again.status) == (202, 202)
    assert (again.text, again.headers["Idempotent-Replayed"]) == (first.text, "true")
    assert refund(app, booking_id, 1001, key="once").problem == "idempotency-key-reused"
    assert app.count("refunds") == 1


def test_a_refund_is_for_administrators(app: App) -> None:
    """The token, or being the customer, is not enough."""
    booking_id, hold = bought(app, app.slot())
    for headers, status in ((hold.headers, 401), (hold.headers | bearer(), 403)):
        answer = app.call("bookings", "POST", f"/bookings/{booking_id}/refunds", {"reason": "r"}, headers)
        assert answer.status == status
    assert refund(app, str(uuid4())).problem == "unknown-booking"
    assert app.count("refunds") == 0


def test_what_has_no_payment_has_no_refund(app: App) -> None:
    """A booking with credits cost no money."""
    booking_id, _ = by_credits(app, app.slot(credits_price=3))
    assert refund(app, booking_id).problem == refund(app, booking_id, 1).problem == "refund-exceeds-paid"


def test_a_disputed_payment_is_not_refunded(app: App) -> None:
    """The bank has the money."""
    booking_id, _ = bought(app, app.slot())
    intent_id = app.value("SELECT payment_intent_id FROM payment_intents_log")
    tell_all(app, app.emulator.act("/disputes", payment_intent=intent_id)[1]["id"])
    answer = refund(app, booking_id, 1)
    assert (answer.status, answer.problem) == (409, "disputed")


def test_a_refund_is_an_amount_of_its_currency(app: App) -> None:
    """JOD goes back in tens."""
    booking_id, _ = bought(app, app.slot(unit_amount=4510, currency="jod"))
    refused = refund(app, booking_id, 1001)
    assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, "/amount")
    assert refund(app, booking_id, 1010).status == 202


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("cancel", {}),
        ("cancel", {"reason": ""}),
        ("cancel", {"reason": "a\x00b"}),
        ("cancel", {"reason": "x" * 201}),
        ("cancel", {"reason": 1}),
        ("cancel", {"reason": "r", "more": 1}),
        ("reschedule", {}),
        ("reschedule", {"slot_id": "here"}),
        ("reschedule", {"slot_id": str(uuid4()), "item_id": 7}),
        ("reschedule", {"slot_id": None}),
        ("refunds", {"amount": 1}),
        ("refunds", {"reason": "r", "amount": 0}),
        ("refunds", {"reason": "r", "amount": -1}),
        ("refunds", {"reason": "r", "amount": 1.5}),
        ("refunds", {"reason": "r", "amount": "100"}),
        ("refunds", {"reason": "r", "amount": 10**15}),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(app: App, what: str, body: dict[str, Any]) -> None:
    """Missing, empty, too long, of another type, unknown, out of range: 422 that names the field."""
    booking_id, _ = bought(app, app.slot())
    before = app.dump()
    answer = app.call(
        "bookings", "POST", f"/bookings/{booking_id}/{what}", body, bearer(**ADMIN) | {"if-match": "1"}
    )
    assert answer.status == 422
    assert answer.body["errors"][0]["pointer"].startswith("/")
    assert app.dump() == before


def test_a_wrong_policy_stops_the_function_at_its_first_call(app: App, logs: Logs) -> None:
    """500, and one line that names the setting."""
    booking_id, hold = bought(app, app.slot())
    app.set(CANCEL_POLICY="24h:100")
    assert cancel(app, booking_id, hold.headers).status == 500
    assert any("CANCEL_POLICY" in str(line) for line in logs.lines("CRITICAL"))
