"""`PUT /offerings/{slug}/schedule`: slots are made from weekly rules, and made anew while they are on sale."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from functions.admin.schedules import MOST_DAYS, MOST_TIMES
from tests.support.app import App
from tests.support.lambda_events import Answer
from tests.support.postgres import on_every_postgres
from tests.support.sign_in import SECRET, token

VIENNA = ZoneInfo("Europe/Vienna")
ADMIN = {"authorization": f"Bearer {token(sub='root', role='admin')}"}
STARTED = datetime.now(VIENNA).date()
# A week that is all ahead, from its Monday on, though the suite runs past midnight.
MONDAY = STARTED + timedelta(days=14 - STARTED.weekday())
CHAIR = "c4a1f000-0000-4000-8000-000000000001"
NOTHING = {"created": 0, "kept": 0, "legacy": 0, "deleted": 0, "blocked": 0}


def rule(weekday: int, start: str, minutes: int = 60, *, bookings: int = 5, units: int = 8) -> dict[str, Any]:
    return {
        "weekday": weekday,
        "start": start,
        "minutes": minutes,
        "max_bookings": bookings,
        "max_units": units,
    }


MORNINGS = [rule(weekday, start) for weekday in (0, 2) for start in ("09:00", "10:00")]


def body(rules: list[dict[str, Any]], **changes: object) -> dict[str, Any]:
    """A schedule of that one week."""
    return {
        "timezone": "Europe/Vienna",
        "rules": rules,
        "from": str(MONDAY),
        "until": str(MONDAY + timedelta(days=6)),
        "blackout_dates": [],
        **changes,
    }


class Desk:
    """An administrator's desk: one offering, and its schedule."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.slug = app.offering()

    def put(self, rules: list[dict[str, Any]], *, slug: str | None = None, **changes: object) -> Answer:
        return self.send(body(rules, **changes), slug)

    def send(self, document: object, slug: str | None = None) -> Answer:
        return self.app.call("admin", "PUT", f"/offerings/{slug or self.slug}/schedule", document, ADMIN)

    def refreshed(self, rules: list[dict[str, Any]], **changes: Any) -> dict[str, int]:
        """What the schedule did, without what did not occur."""
        answer = self.put(rules, **changes)
        assert answer.status == 200, answer
        assert set(answer.body) == set(NOTHING)
        return {name: count for name, count in answer.body.items() if count}

    def slot(self, weekday: int, start: str, slug: str | None = None) -> str:
        """The one slot that is on sale at that time of the week."""
        begin = datetime.combine(MONDAY + timedelta(days=weekday), time.fromisoformat(start), VIENNA)
        return str(
            self.app.value(
                "SELECT s.id FROM slots s JOIN offerings o ON o.id = s.offering_id"
                " WHERE o.slug = %s AND s.starts_at = %s AND NOT s.is_legacy",
                slug or self.slug,
                begin,
            )
        )

    def on_sale(self, slug: str | None = None) -> list[str]:
        """Weekday and time of what buyers are shown."""
        answer = self.app.call(
            "reservations", "GET", "/slots", query=f"offering={slug or self.slug}&limit=200"
        )
        starts = [
            datetime.fromisoformat(slot["starts_at"]).astimezone(VIENNA) for slot in answer.body["slots"]
        ]
        return [f"{start.weekday()} {start:%H:%M}" for start in starts]

    def room(self, slot: str) -> tuple[Any, ...]:
        return self.app.row("SELECT max_bookings, max_units, is_legacy FROM slots WHERE id = %s", slot)


@pytest.fixture
def desk(app: App) -> Desk:
    app.set(JWT_SECRET=SECRET)
    return Desk(app)


# What the rules make.


@on_every_postgres
def test_rules_make_slots_and_the_same_rules_again_change_nothing(app: App, desk: Desk) -> None:
    """Each rule a slot a week, with its length and its room; a second time not a row is another."""
    assert desk.refreshed(MORNINGS) == {"created": 4}
    before = app.dump()

    assert desk.on_sale() == ["0 09:00", "0 10:00", "2 09:00", "2 10:00"]
    assert app.rows(
        "SELECT DISTINCT ends_at - starts_at, max_bookings, max_units, resource_id FROM slots"
    ) == [(timedelta(hours=1), 5, 8, None)]
    assert desk.refreshed(MORNINGS) == {"kept": 4}
    assert app.dump() == before


def test_the_schedule_is_kept_as_it_was_said(app: App, desk: Desk) -> None:
    """Zone, days, rules and days off, those of the last time alone; each change with who made it."""
    desk.refreshed([rule(1, "08:00")], blackout_dates=[str(MONDAY)])
    desk.refreshed([rule(2, "09:30", 45)], blackout_dates=["2027-01-01"], timezone="Asia/Kathmandu")

    assert app.row("SELECT timezone, starts_on, ends_on FROM schedules") == (
        "Asia/Kathmandu",
        MONDAY,
        MONDAY + timedelta(days=6),
    )
    assert app.row("SELECT weekday, starts::text, minutes, max_bookings, max_units FROM schedule_rules") == (
        2,
        "09:30:00",
        45,
        5,
        8,
    )
    assert app.row("SELECT day FROM blackout_dates") == (date(2027, 1, 1),)
    assert set(
        app.rows(
            "SELECT performed_by_id, reason FROM booking_audit_log WHERE table_name IN ('slots', 'schedule_rules')"
        )
    ) == {("root", "schedule")}


def test_nine_stays_nine_when_the_clocks_change(app: App, desk: Desk) -> None:
    """Over a year of Mondays the wall says nine each time, while the distance to UTC changes twice."""
    desk.refreshed([rule(0, "09:00")], until=str(MONDAY + timedelta(days=364)))

    starts = [start for (start,) in app.rows("SELECT starts_at FROM slots")]
    assert len(starts) == 53
    assert {start.astimezone(VIENNA).strftime("%a %H:%M") for start in starts} == {"Mon 09:00"}
    assert {start.astimezone(UTC).hour for start in starts} == {7, 8}


def test_a_gap_moves_a_time_out_of_the_days_or_out_of_the_way(app: App, desk: Desk) -> None:
    """A time that the clocks carry into the next day is that day's; of two that overlap then, the one in place is there."""
    march = date(STARTED.year + 1, 3, 31)
    sunday = march - timedelta(days=(march.weekday() + 1) % 7)
    night, saturday = (
        [rule(5, "23:30")],
        {"from": str(sunday - timedelta(days=1)), "timezone": "America/Nuuk"},
    )
    assert desk.refreshed(night, **saturday, until=saturday["from"]) == {}
    assert desk.refreshed(night, **saturday, until=str(sunday)) == {"created": 1}
    assert desk.refreshed(night, **saturday, until=str(sunday)) == {"kept": 1}

    early, days = [rule(6, "02:00"), rule(6, "03:30")], {"from": str(sunday), "until": str(sunday)}
    other = app.offering()
    assert desk.refreshed(early, slug=other, resource_id=CHAIR, **days) == {"created": 1, "blocked": 1}
    assert desk.on_sale(other) == ["6 03:30"]


def test_nothing_is_made_on_a_day_off(desk: Desk) -> None:
    assert desk.refreshed(MORNINGS, blackout_dates=[str(MONDAY)] * 2) == {"created": 2}
    assert desk.on_sale() == ["2 09:00", "2 10:00"]


def test_what_has_begun_is_neither_made_nor_touched(app: App, desk: Desk) -> None:
    """Of a week that has begun the hours to come alone; a slot of the past stays, in no rule though it is."""
    past = app.slot(desk.slug, starts_in="-2 hours", lasts="1 minute")
    before = app.row("SELECT * FROM slots WHERE id = %s", past)
    every_day = [rule(weekday, f"{hour:02}:00", 30) for weekday in range(7) for hour in range(24)]
    # From now, not from the suite's beginning; in a zone whose days have 24 hours all year; and of two moments, as an
    # hour may begin in between.
    began = app.value("SELECT now()")
    midnight = began.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first, last = midnight - timedelta(days=3), midnight + timedelta(days=1)
    hours = [first + timedelta(hours=hour) for hour in range(5 * 24)]

    desk.refreshed(every_day, timezone="Etc/UTC", **{"from": f"{first:%F}", "until": f"{last:%F}"})

    ended = app.value("SELECT now()")
    assert app.row("SELECT * FROM slots WHERE id = %s", past) == before
    made = [row[0] for row in app.rows("SELECT starts_at FROM slots WHERE id <> %s ORDER BY starts_at", past)]
    assert made in [[hour for hour in hours if hour > moment] for moment in (began, ended)]


def test_days_outside_are_left_alone(app: App, desk: Desk) -> None:
    """The days from the first to the last, both whole, and no other."""
    sunday = rule(6, "23:30")
    desk.refreshed([sunday], **{"from": str(MONDAY), "until": str(MONDAY + timedelta(days=20))})

    assert desk.refreshed(
        [], **{"from": str(MONDAY + timedelta(days=7)), "until": str(MONDAY + timedelta(days=13))}
    ) == {"deleted": 1}
    assert [
        start.astimezone(VIENNA).date() - MONDAY
        for (start,) in app.rows("SELECT starts_at FROM slots ORDER BY 1")
    ] == [
        timedelta(days=6),
        timedelta(days=20),
    ]


def test_the_farthest_days_can_be_asked_for(desk: Desk) -> None:
    """The first year and the last that dates have: one is over, the other is on sale."""
    assert desk.refreshed(MORNINGS, **{"from": "0001-01-01", "until": "0001-12-31"}) == {}
    assert desk.refreshed(
        [rule(2, "23:59", 1440)],
        timezone="Pacific/Pago_Pago",
        **{"from": "9999-12-01", "until": "9999-12-29"},
    ) == {"created": 5}
    assert len(desk.on_sale()) == 5


# What becomes of slots that are being sold.


@on_every_postgres
def test_held_and_sold_slots_outlive_their_rules_and_empty_ones_go(app: App, desk: Desk) -> None:
    """What is held or sold stays as legacy: honoured, not on sale, not to be seen. What is empty goes."""
    desk.refreshed(MORNINGS)
    held_slot, sold_slot = desk.slot(0, "09:00"), desk.slot(0, "10:00")
    payment = app.payment(app.hold(held_slot, 2))
    app.booked(sold_slot, 3)

    assert desk.refreshed([rule(4, "09:00")]) == {"created": 1, "legacy": 2, "deleted": 2}

    assert desk.on_sale() == ["4 09:00"]
    assert app.try_hold(held_slot).problem == "slot-closed"
    app.confirm(payment)
    assert app.outcome(app.event(payment.intent_id, "payment_intent.succeeded")) == "processed"
    assert app.counts(held_slot) == (0, 2, 0, 1)
    assert app.counts(sold_slot) == (0, 3, 0, 1)
    assert app.violations() == []


def test_a_legacy_slot_that_is_in_a_rule_again_is_on_sale_again(app: App, desk: Desk) -> None:
    """The same slot, with what was sold of it."""
    desk.refreshed(MORNINGS)
    slot = desk.slot(2, "09:00")
    app.booked(slot, 3)
    assert desk.refreshed([]) == {"legacy": 1, "deleted": 3}
    assert desk.refreshed([]) == {"legacy": 1}

    assert desk.refreshed(MORNINGS) == {"created": 3, "kept": 1}

    assert desk.slot(2, "09:00") == slot
    assert app.counts(slot) == (0, 3, 0, 1)


def test_room_follows_the_rules_but_not_below_what_is_held_and_sold(app: App, desk: Desk) -> None:
    """In bookings and in units, each by itself; up as well as down; and further down once there is less sold."""
    desk.refreshed(MORNINGS)
    slot, empty = desk.slot(0, "09:00"), desk.slot(0, "10:00")
    hold = app.hold(slot, 2)
    app.booked(slot, 3)

    smaller = [rule(0, start, bookings=1, units=6) for start in ("09:00", "10:00")]
    assert desk.refreshed(smaller) == {"kept": 2, "deleted": 2}
    assert (desk.room(slot), desk.room(empty)) == ((2, 6, False), (1, 6, False))

    desk.refreshed([{**each, "max_units": 1} for each in smaller])
    assert desk.room(slot) == (2, 5, False)
    app.cancel(hold)
    desk.refreshed([{**each, "max_units": 1} for each in smaller])
    assert desk.room(slot) == (1, 3, False)
    desk.refreshed([{**each, "max_units": 50} for each in smaller])
    assert desk.room(slot) == (1, 50, False)


def test_another_length_is_another_slot(app: App, desk: Desk) -> None:
    """Who has booked an hour keeps an hour."""
    desk.refreshed([rule(0, "09:00", 60)])
    app.booked(slot := desk.slot(0, "09:00"))

    assert desk.refreshed([rule(0, "09:00", 90)]) == {"created": 1, "legacy": 1}
    assert desk.room(slot) == (5, 8, True)


def test_an_empty_slot_that_a_hold_once_named_goes_off_sale_and_stays_in_the_books(
    app: App, desk: Desk
) -> None:
    """It counts as deleted, once; its time can be had by others; money that comes for it now goes back."""
    chair = {"resource_id": CHAIR}
    desk.refreshed([rule(0, "09:00")], **chair)
    slot = desk.slot(0, "09:00")
    late = app.payment(app.hold(slot))
    app.cancel(app.hold(slot))
    app.confirm(late)
    app.rows(
        "UPDATE ticket_reservations SET status = 'expired', payment_id = NULL WHERE id = %s", late.hold.id
    )
    app.rows("UPDATE slots SET held_units = 0, held_bookings = 0")

    assert desk.refreshed([rule(0, "09:30")], **chair) == {"created": 1, "deleted": 1}
    assert desk.refreshed([rule(0, "09:30")], **chair) == {"kept": 1}

    assert desk.on_sale() == ["0 09:30"]
    assert desk.room(slot) == (5, 8, True)
    assert app.outcome(app.event(late.intent_id, "payment_intent.succeeded")) == "processed"
    assert app.row("SELECT reason FROM refunds") == ("paid-late-slot-closed",)
    assert app.violations() == []


def test_a_slot_that_a_cancelled_booking_was_moved_to_stays_in_the_books(app: App, desk: Desk) -> None:
    """The booking's own line names it."""
    desk.refreshed(MORNINGS)
    hold = app.booked(desk.slot(0, "09:00")).hold
    booking = f"/bookings/{app.value('SELECT id FROM bookings')}"
    moved = app.call(
        "bookings",
        "POST",
        f"{booking}/reschedule",
        {"slot_id": desk.slot(0, "10:00")},
        hold.headers | {"if-match": "1"},
    )
    gone = app.call(
        "bookings", "POST", f"{booking}/cancel", {"reason": "ill"}, hold.headers | {"if-match": "2"}
    )
    assert (moved.status, gone.status) == (200, 200), (moved, gone)

    assert desk.refreshed([]) == {"deleted": 4}
    assert app.value("SELECT count(*) FROM slots WHERE is_legacy") == 2


def test_of_two_slots_at_one_time_the_one_that_is_sold_is_kept(app: App, desk: Desk) -> None:
    """Where an operator has put in a second one."""
    desk.refreshed([rule(0, "09:00")])
    app.rows(
        "INSERT INTO slots (offering_id, starts_at, ends_at, max_bookings, max_units)"
        " SELECT offering_id, starts_at, ends_at, 1, 1 FROM slots"
    )
    sold = str(app.value("SELECT max(id::text) FROM slots"))
    app.booked(sold)

    assert desk.refreshed([rule(0, "09:00")]) == {"kept": 1, "deleted": 1}
    assert desk.slot(0, "09:00") == sold


# What two slots cannot both take up.


def test_a_time_that_a_surviving_slot_of_the_resource_takes_up_is_blocked(app: App, desk: Desk) -> None:
    """An appointment that is sold keeps its chair; the new time that it overlaps is skipped until it is gone."""
    desk.refreshed([rule(0, "09:00"), rule(0, "10:00")], resource_id=CHAIR)
    app.booked(desk.slot(0, "09:00"))

    shifted = [rule(0, "09:30"), rule(0, "10:30")]
    assert desk.refreshed(shifted) == {"created": 1, "legacy": 1, "deleted": 1, "blocked": 1}
    assert desk.on_sale() == ["0 10:30"]
    assert desk.refreshed(shifted) == {"kept": 1, "legacy": 1, "blocked": 1}


def test_another_offering_keeps_the_resource_that_it_has(app: App, desk: Desk) -> None:
    """One room, two classes: who comes second gets what is left."""
    other = app.offering()
    desk.refreshed([rule(0, "09:00")], resource_id=CHAIR)

    assert desk.refreshed([rule(0, "09:30"), rule(0, "10:00")], slug=other, resource_id=CHAIR) == {
        "created": 1,
        "blocked": 1,
    }
    assert (desk.on_sale(), desk.on_sale(other)) == (["0 09:00"], ["0 10:00"])


def test_of_rules_that_overlap_each_other_one_gets_the_resource(desk: Desk) -> None:
    """Without a resource they are slots side by side."""
    overlapping = [rule(0, "09:00"), rule(0, "09:30"), rule(0, "10:00")]
    assert desk.refreshed(overlapping) == {"created": 3}
    assert desk.refreshed(overlapping, resource_id=CHAIR) == {"created": 2, "deleted": 3, "blocked": 1}


def test_slots_keep_taking_up_what_they_took_up(app: App, desk: Desk) -> None:
    """Unless another resource is named: slots that are sold stay where they are, empty ones move."""
    app.slot(desk.slug, resource_id=CHAIR)
    desk.refreshed(MORNINGS)
    app.booked(sold := desk.slot(0, "09:00"))
    desk.refreshed([])
    desk.refreshed(MORNINGS)
    week = "SELECT resource_id::text FROM slots WHERE starts_at < %s ORDER BY id = %s DESC"
    end = MONDAY + timedelta(days=7)
    assert app.rows(week, end, sold) == [(CHAIR,)] * 4

    other = str(uuid4())
    assert desk.refreshed(MORNINGS, resource_id=other) == {"created": 3, "kept": 1, "deleted": 3}
    assert app.rows(week, end, sold) == [(CHAIR,), (other,), (other,), (other,)]


def test_several_resources_have_to_be_told_apart(app: App, desk: Desk) -> None:
    """Where the offering's slots take up several and the schedule named none."""
    for resource in (CHAIR, str(uuid4())):
        app.slot(desk.slug, resource_id=resource)
    answer = desk.put(MORNINGS)
    assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, "/resource_id")
    assert desk.refreshed(MORNINGS, resource_id=CHAIR) == {"created": 4}


# What is refused.


def changed(**changes: object) -> Callable[[], object]:
    return lambda: body(MORNINGS) | changes


def with_rule(**changes: object) -> Callable[[], object]:
    return lambda: body([rule(0, "09:00") | changes])


BAD: dict[str, Callable[[], object]] = {
    "unknown-zone": changed(timezone="Europe/Atlantis"),
    "abbreviation": changed(timezone="CEST"),
    "offset": changed(timezone="+02:00"),
    "zone-of-another-kind": changed(timezone=7),
    "zone-with-nul": changed(timezone="Europe/Vienna\0"),
    "end-before-start": changed(until=str(MONDAY - timedelta(days=1))),
    "too-long": changed(until=str(MONDAY + timedelta(days=MOST_DAYS))),
    "year-10000": changed(until="10000-01-01"),
    "past-the-last-day": changed(**{"from": "9999-12-01", "until": "9999-12-31"}),
    "year-0": changed(**{"from": "0000-01-01"}),
    "no-such-day": changed(**{"from": "2027-02-29"}),
    "day-off-that-is-none": changed(blackout_dates=["tomorrow"]),
    "resource-that-is-none": changed(resource_id="chair"),
    "unknown-field": changed(colour="red"),
    "no-rules": lambda: {name: value for name, value in body([]).items() if name != "rules"},
    "rules-that-are-none": changed(rules="always"),
    "ten-thousand-rules": changed(rules=[rule(0, "09:00")] * 700),
    "the-same-rule-twice": changed(rules=[rule(0, "09:00"), rule(0, "09:00", units=9)]),
    "more-slots-than-can-be-made": changed(
        rules=[rule(d, f"{h:02}:{m:02}", 5) for d in range(7) for h in range(24) for m in (0,)],
        until=str(MONDAY + timedelta(days=MOST_TIMES // 24)),
    ),
    "weekday-7": with_rule(weekday=7),
    "weekday-minus-1": with_rule(weekday=-1),
    "weekday-as-text": with_rule(weekday="0"),
    "start-at-24": with_rule(start="24:00"),
    "start-without-minutes": with_rule(start="9"),
    "start-in-arabic-digits": with_rule(start="\u0660\u0669:00"),
    "no-minutes": with_rule(minutes=0),
    "more-than-a-day": with_rule(minutes=1441),
    "half-minutes": with_rule(minutes=30.5),
    "negative-bookings": with_rule(max_bookings=-1),
    "no-units": with_rule(max_units=0),
    "too-many-units": with_rule(max_units=1_000_001),
    "no-document": list,
}


def test_bad_input_is_a_clear_422_and_changes_nothing(app: App, desk: Desk) -> None:
    """Each names the field that is wrong and repeats nothing; slots, rules and audit are as they were."""
    desk.refreshed([rule(3, "12:00")])
    before = app.dump()
    for name, document in BAD.items():
        answer = desk.send(document())
        assert (answer.status, answer.problem) == (422, "invalid-request"), (name, answer)
        assert name == "no-document" or answer.body["errors"][0]["pointer"] != "", name
    assert app.dump() == before


def test_a_body_that_is_too_long_is_413(desk: Desk) -> None:
    assert desk.send(body([rule(0, "09:00")] * 10_000)).status == 413


def test_an_unknown_offering_is_404(desk: Desk) -> None:
    for slug in ("nope", "Ünïcode", "a%00b"):
        assert desk.put(MORNINGS, slug=slug).problem in ("unknown-offering", "not-found")
    assert desk.put(MORNINGS, slug="nope").problem == "unknown-offering"
