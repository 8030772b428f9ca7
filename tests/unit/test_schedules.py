"""Schedules run when EventBridge Scheduler would run them."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from local.schedules import ScheduleError, parse, payload_of
from local.template import Schedule

NOON = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)  # a Friday


@pytest.mark.parametrize(
    ("expression", "seconds"), [("rate(1 minute)", 60), ("rate(5 minutes)", 300), ("rate(2 hours)", 7200)]
)
def test_a_rate_counts_from_the_last_time(expression: str, seconds: int) -> None:
    """The first run is one interval after the start."""
    assert parse(expression).after(NOON) == NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("cron(* * * * ? *)", "2026-11-20T12:01"),
        ("cron(0/15 * * * ? *)", "2026-11-20T12:15"),
        ("cron(30 2 * * ? *)", "2026-11-21T02:30"),
        ("cron(0 9 ? * MON-FRI *)", "2026-11-23T09:00"),
        ("cron(0 9 ? * 1 *)", "2026-11-22T09:00"),
        ("cron(0 0 1 JAN,JUL ? *)", "2027-01-01T00:00"),
        ("cron(0 0 29 2 ? *)", "2028-02-29T00:00"),
        ("cron(5,10 14 20 11 ? 2026)", "2026-11-20T14:05"),
    ],
)
def test_a_cron_expression_finds_its_next_minute(expression: str, due: str) -> None:
    """Six fields, Sunday is weekday 1, names and lists and steps."""
    assert parse(expression).after(NOON) == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_a_cron_expression_follows_its_time_zone_through_the_change_of_the_clock() -> None:
    """Nine o'clock is an hour later in UTC once summer time is over; a skipped time is left out."""
    nine = parse("cron(0 9 * * ? *)", "Europe/Vienna")
    assert nine.after(datetime(2026, 10, 24, tzinfo=UTC)) == datetime(2026, 10, 24, 7, tzinfo=UTC)
    assert nine.after(datetime(2026, 10, 25, tzinfo=UTC)) == datetime(2026, 10, 25, 8, tzinfo=UTC)
    skipped = parse("cron(30 2 29 3 ? 2026)", "Europe/Vienna")
    assert skipped.after(datetime(2026, 3, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    "expression",
    [
        "rate(0 minutes)",
        "every minute",
        "cron(* * * *)",
        "cron(0 0 L * ? *)",
        "cron(61 * * * ? *)",
        "cron(0/0 * * * ? *)",
    ],
)
def test_what_is_no_schedule_is_refused(expression: str) -> None:
    """Before anything runs, rather than never running."""
    with pytest.raises(ScheduleError):
        parse(expression)


def test_the_input_is_filled_in() -> None:
    """The schedule's input with its context attributes, or the default event."""
    schedule = Schedule(
        "Every", "rate(1 minute)", "UTC", '{"at": "<aws.scheduler.scheduled-time>"}', enabled=True
    )
    assert json.loads(payload_of(schedule, NOON)) == {"at": "2026-11-20T12:00:30Z"}
    default = json.loads(payload_of(Schedule("Every", "rate(1 minute)", "UTC", None, enabled=True), NOON))
    assert (default["detail-type"], default["time"]) == ("Scheduled Event", "2026-11-20T12:00:30Z")
