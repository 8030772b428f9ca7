"""An offering's weekly opening times, and the slots that are made from them."""

from collections import Counter
from datetime import date
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from database.connection import Context
from database.schedules import refresh_future_schedule
from domain.refusals import BY_SLUG, InvalidRequest
from functions.admin.connections import admin_database
from runtime.fields import Form, RequestModel

# What one statement makes anew, at most, well within its time: every slot of it is locked, checked and audited.
MOST_TIMES = 5000
MOST_DAYS = 2 * 366
# No slot may end in the year 10000, wherever its day ends.
LAST_DAY = date(9999, 12, 29)

type Room = Annotated[int, Field(ge=1, le=1_000_000)]


class Rule(RequestModel):
    """A weekly time; `start` is what a clock on the wall says."""

    weekday: Annotated[int, Field(ge=0, le=6)]
    start: Annotated[str, Form(r"([01][0-9]|2[0-3]):[0-5][0-9]", "a time of day from 00:00 to 23:59")]
    minutes: Annotated[int, Field(ge=1, le=1440)]
    max_bookings: Room
    max_units: Room


def _each_time_once(rules: list[Rule]) -> list[Rule]:
    if len({(rule.weekday, rule.start, rule.minutes) for rule in rules}) < len(rules):
        raise ValueError("each weekday, start and length may be named once")
    return rules


class ScheduleRequest(RequestModel):
    """All opening times of an offering from one local day to another, both included."""

    timezone: Annotated[str, Form(r"[A-Za-z0-9_+/-]{1,64}", "a time zone of the IANA database")]
    rules: Annotated[list[Rule], Field(max_length=200), AfterValidator(_each_time_once)]
    first: Annotated[date, Field(alias="from", le=LAST_DAY)]
    last: Annotated[date, Field(alias="until", le=LAST_DAY)]
    blackout_dates: list[date] = Field(default=[], max_length=MOST_DAYS)
    resource_id: UUID | None = None

    @field_validator("last")
    @classmethod
    def _spans_what_can_be_made(cls, last: date, info: ValidationInfo) -> date:
        first, rules = info.data.get("first"), info.data.get("rules")
        if first is None or rules is None:
            return last
        days = (last - first).days + 1
        if not 1 <= days <= MOST_DAYS:
            raise ValueError(f"the schedule should last from 1 to {MOST_DAYS} days")
        weekdays = Counter((first.weekday() + day) % 7 for day in range(days))
        if sum(weekdays[rule.weekday] for rule in rules) > MOST_TIMES:
            raise ValueError(
                f"the rules should make {MOST_TIMES} slots at most: send a part of the time at once"
            )
        return last


def refresh(slug: str, request: ScheduleRequest, context: Context) -> dict[str, Any]:
    """Makes the offering's future slots what the rules say: `{"created", "kept", "legacy", "deleted", "blocked"}`.

    Raises `UnknownOffering`, and `InvalidRequest` for a zone that the database does not know, or where it cannot tell
    which resource the slots take up.
    """
    outcome = admin_database().run(
        lambda conn: refresh_future_schedule(
            conn,
            slug=slug,
            timezone=request.timezone,
            rules=[rule.model_dump() for rule in request.rules],
            first=request.first,
            last=request.last,
            blackouts=request.blackout_dates,
            resource_id=request.resource_id,
            context=context,
        )
    )
    match outcome.pop("outcome"):
        case "refreshed":
            return {name: outcome[name] for name in ("created", "kept", "legacy", "deleted", "blocked")}
        case "unknown-timezone":
            detail = "Input should be a time zone of the IANA database"
            raise InvalidRequest(errors=[{"pointer": "/timezone", "detail": detail}])
        case "several-resources":
            detail = "The offering's slots take up several resources: name one"
            raise InvalidRequest(errors=[{"pointer": "/resource_id", "detail": detail}])
        case refused:
            raise BY_SLUG[refused]
