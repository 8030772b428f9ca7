"""What wall time means, over many zones and years: SQL against Python's own reading of the same rule.

Of a time that exists twice `fold=0` is the first, and for one that does not exist it is the offset before the gap (PEP
495): the rule of RFC 5545, 3.3.5.
"""

import json
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.postgres import PostgresServer
from tests.support.postgres import VERSIONS, on_every_postgres

type Query = Callable[..., list[tuple[Any, ...]]]

# Half-hour changes, winter as the exception, a skipped day, no whole hours, gaps at and across midnight, two hours,
# changes of the zone itself, changes around Ramadan.
ZONES = [
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "Europe/Vienna",
    "America/New_York",
    "America/Nuuk",
    "America/Havana",
    "America/Sao_Paulo",
    "America/Caracas",
    "America/St_Johns",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Pyongyang",
    "Europe/Moscow",
    "Pacific/Chatham",
    "Pacific/Kwajalein",
]


@pytest.fixture
def query(postgres: PostgresServer, database_name: str) -> Generator[Query]:
    """Asks a database of the test's own."""
    with psycopg.connect(postgres.url(database=database_name), autocommit=True) as conn:
        yield lambda text, *values: conn.execute(text.encode(), values).fetchall()


@cache
def read_zone(version: str, name: str) -> ZoneInfo:
    """The zone from the very file that this PostgreSQL reads: another edition may know of other laws."""
    own = VERSIONS[version].parent / "share/timezone" / name
    with (own if own.exists() else Path("/usr/share/zoneinfo") / name).open("rb") as file:
        return ZoneInfo.from_file(file, name)


def instant(local: datetime, zone: ZoneInfo) -> datetime:
    return local.replace(tzinfo=zone).astimezone(UTC)


def changes(zone: ZoneInfo, years: range) -> Iterator[datetime]:
    """The days, as wall time, before which a zone's clocks have changed."""
    day, before = datetime(years.start, 1, 1), None  # noqa: DTZ001 - wall time
    while day.year < years.stop:
        offset = day.replace(tzinfo=zone).utcoffset()
        if before is not None and offset != before:
            yield day
        before, day = offset, day + timedelta(days=1)


@on_every_postgres
def test_every_change_of_the_clocks_is_read_by_the_rule(query: Query, postgres_version: str) -> None:
    """Each quarter of an hour around each change of sixty-five years is the moment that the rule says."""
    quarters = [timedelta(minutes=15 * n) for n in range(-26 * 4, 4 * 4)]
    for name in ZONES:
        zone = read_zone(postgres_version, name)
        asked = [day + quarter for day in changes(zone, range(1973, 2038)) for quarter in quarters]
        asked += [datetime(year, 7, 1, 9) for year in range(1973, 2038)]  # noqa: DTZ001 - wall time

        answered = query(
            "SELECT instant_of(asked, %s) AT TIME ZONE 'UTC' FROM unnest(%s::timestamp[]) WITH ORDINALITY t (asked, n)"
            " ORDER BY n",
            name,
            asked,
        )

        found = dict(zip(asked, (moment for (moment,) in answered), strict=True))
        assert {
            local: moment
            for local, moment in found.items()
            if moment != instant(local, zone).replace(tzinfo=None)
        } == {}, name


def test_known_moments(query: Query) -> None:
    """Written down by hand: a gap, two hours that are one, half an hour, winter as the exception, a day that was not."""
    known = [
        ("America/New_York", "2026-03-08 02:30", "2026-03-08 07:30"),
        ("America/New_York", "2026-11-01 01:30", "2026-11-01 05:30"),
        ("Australia/Lord_Howe", "2026-10-04 02:15", "2026-10-03 15:45"),
        ("Australia/Lord_Howe", "2026-04-05 01:45", "2026-04-04 14:45"),
        ("Europe/Dublin", "2026-10-25 01:30", "2026-10-25 00:30"),
        ("Pacific/Apia", "2011-12-30 09:00", "2011-12-30 19:00"),
        ("Asia/Kathmandu", "2026-07-01 09:00", "2026-07-01 03:15"),
    ]
    for zone, local, moment in known:
        found = query(
            "SELECT to_char(instant_of(%s, %s) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')", local, zone
        )
        assert found == [(moment,)], (zone, local)


RULES = st.lists(
    st.builds(
        lambda weekday, quarter, minutes: {
            "weekday": weekday,
            "start": f"{quarter // 4:02}:{quarter % 4 * 15:02}",
            "minutes": minutes,
            "max_bookings": 1,
            "max_units": 1,
        },
        st.integers(0, 6),
        st.integers(0, 95),
        st.integers(1, 1440),
    ),
    max_size=6,
)


def test_weekly_rules_make_every_time_and_no_other(query: Query, postgres_version: str) -> None:
    """Any zone, any rules, any year to come: each rule on each of its days but days off, at its wall time."""
    names = sorted(name for (name,) in query("SELECT name FROM pg_timezone_names"))

    @settings(max_examples=40)
    @given(
        st.sampled_from(names) | st.sampled_from(ZONES),
        RULES,
        st.dates(date(2026, 1, 1), date(2090, 1, 1)),
        st.integers(0, 100),
        st.sets(st.integers(0, 100), max_size=5),
    )
    def times_are_right(
        name: str, rules: list[dict[str, Any]], first: date, length: int, off: set[int]
    ) -> None:
        zone = read_zone(postgres_version, name)
        days_off = {first + timedelta(days=n) for n in off}
        expected = {
            (begin, begin + timedelta(minutes=rule["minutes"]))
            for n in range(length + 1)
            for rule in rules
            if (day := first + timedelta(days=n)).weekday() == rule["weekday"] and day not in days_off
            for begin in [instant(datetime.combine(day, time.fromisoformat(rule["start"])), zone)]
        }
        made = query(
            "SELECT starts_at, ends_at FROM schedule_times(%s, %s, %s, %s, %s)",
            name,
            json.dumps(rules),
            first,
            first + timedelta(days=length),
            list(days_off),
        )
        assert len(made) == len(set(made))
        assert set(made) == expected

    times_are_right()


def test_what_names_no_zone_of_the_iana(query: Query) -> None:
    """Abbreviations, offsets and other cases, all of which PostgreSQL would take for zones or for something near."""
    names = ["CEST", "UTC+2", "europe/vienna", "EST5EDT4", "Europe/Vienn", "", "posixrules", "Europe/Vienna"]
    (found,) = query("SELECT array_agg(n) FILTER (WHERE is_timezone(n)) FROM unnest(%s::text[]) n", names)
    assert found == (["Europe/Vienna"],)


def test_a_gap_that_brings_two_rules_together_leaves_the_one_that_is_in_place(query: Query) -> None:
    """Half past two does not exist on that Sunday: it is half past three, where another rule says how much room there is."""
    rules = [
        {"weekday": 6, "start": start, "minutes": 60, "max_bookings": room, "max_units": room}
        for start, room in (("02:30", 1), ("03:30", 2))
    ]
    made = query(
        "SELECT starts_at, max_units, moved FROM schedule_times('Europe/Vienna', %s, '2027-03-28', '2027-03-28', '{}')",
        json.dumps(rules),
    )
    assert made == [(datetime(2027, 3, 28, 1, 30, tzinfo=UTC), 2, False)]


def test_times_are_the_same_whatever_zone_the_session_has(query: Query) -> None:
    """The zone of the connection is of no account."""
    rules = json.dumps([{"weekday": 6, "start": "01:30", "minutes": 60, "max_bookings": 1, "max_units": 1}])

    def made(session: str) -> list[tuple[Any, ...]]:
        query("SELECT set_config('TimeZone', %s, false)", session)
        return query(
            "SELECT extract(epoch FROM starts_at)"
            " FROM schedule_times('Europe/Vienna', %s, '2026-10-01', '2026-11-01', '{}')",
            rules,
        )

    assert made("UTC") == made("America/Havana") == made("Pacific/Apia") != []
