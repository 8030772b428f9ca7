"""The template's schedules, run by this machine's clock as EventBridge Scheduler would.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

import asyncio
import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from local.cloudformation import ACCOUNT, REGION
from local.errors import CannotStart
from local.invocation import Backend
from local.template import LambdaFunction, Schedule

RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
CRON = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
YEARS = range(1970, 2200)


class ScheduleError(CannotStart):
    """An expression that is no rate and no cron, or uses L, W or #."""


@dataclass(frozen=True)
class Rate:
    """Every so often, counted from the start."""

    every: timedelta

    def after(self, moment: datetime) -> datetime:
        """The next time after `moment`, which is the last one."""
        return moment + self.every


@dataclass(frozen=True)
class Cron:
    """At the minutes that match all fields; Sunday is weekday 1."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    years: frozenset[int]
    timezone: tzinfo

    def after(self, moment: datetime) -> datetime | None:
        """The first matching minute after `moment`; none where no year is left."""
        local = moment.astimezone(self.timezone)
        day = local.date()
        while day.year <= max(self.years):
            if self._matches_day(day.year, day.month, day.day, day.isoweekday() % 7 + 1):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        candidate = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.timezone)
                        # A time that the change to summer time skips does not come back as itself.
                        back = candidate.astimezone(UTC).astimezone(self.timezone)
                        if candidate.astimezone(UTC) > moment and (back.hour, back.minute) == (hour, minute):
                            return candidate.astimezone(UTC)
            day += timedelta(days=1)
        return None

    def _matches_day(self, year: int, month: int, day: int, weekday: int) -> bool:
        return year in self.years and month in self.months and day in self.days and weekday in self.weekdays


def parse(expression: str, timezone: str = "UTC") -> Rate | Cron:
    """Understand `rate(...)` and `cron(...)`; raises ScheduleError."""
    if match := RATE.fullmatch(expression.strip()):
        every = timedelta(**{f"{match[2]}s": int(match[1])})
        if not every:
            raise ScheduleError(f"{expression}: never is no rate")
        return Rate(every)
    if match := CRON.fullmatch(expression.strip()):
        minutes, hours, days, months, weekdays, years = match.groups()
        return Cron(
            minutes=_field(minutes, range(60)),
            hours=_field(hours, range(24)),
            days=_field(days, range(1, 32)),
            months=_field(months, range(1, 13), MONTHS),
            weekdays=_field(weekdays, range(1, 8), WEEKDAYS),
            years=_field(years, YEARS),
            timezone=ZoneInfo(timezone),
        )
    raise ScheduleError(f"{expression} is neither rate(...) nor cron(...)")


async def run_schedules(functions: Iterable[LambdaFunction], backend: Backend) -> None:
    """Invoke each function asynchronously at its times, whether or not its last run has ended; until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for function in functions:
            for schedule in function.schedules:
                if schedule.enabled:
                    tasks.create_task(_run(function, schedule, backend))


async def _run(function: LambdaFunction, schedule: Schedule, backend: Backend) -> None:
    times = parse(schedule.expression, schedule.timezone)
    due = times.after(datetime.now(UTC))
    while due is not None:
        await asyncio.sleep(max((due - datetime.now(UTC)).total_seconds(), 0))
        backend.enqueue(function, payload_of(schedule, due))
        # After the machine slept, what was missed is not made up for.
        late = datetime.now(UTC) - due
        due = times.after(due if late < timedelta(seconds=30) else datetime.now(UTC))


def payload_of(schedule: Schedule, due: datetime) -> bytes:
    """What the function gets: the schedule's input with its context attributes filled in, or the default event."""
    stamp = due.strftime("%Y-%m-%dT%H:%M:%SZ")
    arn = f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/{schedule.name}"
    if schedule.payload is None:
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.scheduler",
        }
        return json.dumps(
            event | {"account": ACCOUNT, "time": stamp, "region": REGION, "resources": [arn], "detail": "{}"}
        ).encode()
    attributes = {
        "schedule-arn": arn,
        "scheduled-time": stamp,
        "execution-id": str(uuid.uuid4()),
        "attempt-number": "1",
    }
    return re.sub(
        r"<aws\.scheduler\.([a-z-]+)>", lambda match: attributes.get(match[1], match[0]), schedule.payload
    ).encode()


def _field(text: str, allowed: range, names: tuple[str, ...] = ()) -> frozenset[int]:
    """A field's values: `*`, `?`, `a`, `a-b`, `a/n`, `*/n` and lists of them; names count from the range's start."""

    def number(part: str) -> int:
        if part.upper() in names:
            return names.index(part.upper()) + allowed.start
        if not part.isdigit() or int(part) not in allowed:
            raise ScheduleError(f"{part} in {text}")
        return int(part)

    values: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span in {"*", "?"}:
            first, last = allowed.start, allowed.stop - 1
        elif "-" in span:
            first, last = (number(end) for end in span.split("-", 1))
        else:
            first = number(span)
            last = allowed.stop - 1 if step else first
        if first > last or (step and (not step.isdigit() or int(step) == 0)):
            raise ScheduleError(f"{part} in {text}")
        values.update(range(first, last + 1, int(step) if step else 1))
    return frozenset(values)
