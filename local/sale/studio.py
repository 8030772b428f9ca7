"""The studio: classes with a price in credits, opened and changed by an administrator while people book them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import jwt

from local.sale.shop import Answer, Shop

CLASS = "morning-yoga"
ZONE = "Europe/Vienna"
PARTIES, PLACES = 6, 8
DAYS = 14
MORNING, EVENING, LATER = "09:00", "18:00", "19:00"
# What cancelling gives back, in percent, until so many hours before the class; then nothing.
POLICY = ((48, 100), (24, 50))
CANCEL_POLICY = ",".join(f"{hours}h:{percent}%" for hours, percent in POLICY)
# Nobody changes anything this near to one of the policy's moments: he and the database would have to agree on the time.
MARGIN = timedelta(minutes=30)
TOKEN_LIFE_S = 24 * 3600


@dataclass
class Studio:
    """What the administrator does, and what everybody sees of it; `starts` has every slot that was ever seen."""

    shop: Shop
    admin_token: str
    jwt_secret: str
    unit_amount: int
    credits_price: int
    starts: dict[str, datetime] = field(default_factory=dict[str, datetime])
    granted: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def _as_admin(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.admin_token}"}

    def signed_in(self, user_id: str) -> Mapping[str, str]:
        """The header of somebody whom the site has signed in."""
        claims = {"sub": user_id, "role": "customer", "exp": int(time.time()) + TOKEN_LIFE_S}
        return {"Authorization": f"Bearer {jwt.encode(claims, self.jwt_secret, algorithm='HS256')}"}

    async def lay_out(self, evening: str) -> Mapping[str, int]:
        """A class each morning and each evening for two weeks; what the schedule's change has done to the slots."""
        today = datetime.now(UTC).date()
        rules = [
            {"weekday": day, "start": start, "minutes": 60, "max_bookings": PARTIES, "max_units": PLACES}
            for day in range(7)
            for start in (MORNING, evening)
        ]
        body = {"timezone": ZONE, "rules": rules, "from": str(today), "until": str(_last(today))}
        answer = await self.shop.schedule(CLASS, body, self._as_admin)
        return answer.body

    async def shown(self) -> dict[str, int]:
        """The classes on the page with the places that are left, the earliest first."""
        slots = await self.shop.slots(CLASS)
        self.starts |= {slot["id"]: starts_at(slot["starts_at"]) for slot in slots}
        return {slot["id"]: min(slot["units_left"], slot["bookings_left"]) for slot in slots}

    async def on_sale(self) -> list[str]:
        """Those that have room, the earliest first."""
        return [slot for slot, left in (await self.shown()).items() if left]

    def at(self, start: str) -> list[str]:
        """The classes that begin at this time of the day, the earliest first."""
        zone = ZoneInfo(ZONE)
        return [slot for slot, starts in self.starts.items() if f"{starts.astimezone(zone):%H:%M}" == start]

    async def grant(self, user_id: str, credit: int) -> None:
        """So many credits, once."""
        answer = await self.shop.grant(user_id, credit, f"grant:{user_id}", self._as_admin)
        if answer.kind == "201":
            self.granted[user_id] = credit

    async def balance(self, user_id: str) -> int:
        """What the administrator sees of a customer's credits."""
        return (await self.shop.balance(user_id, self._as_admin)).body["balance"]

    async def close_class(self, slot_id: str) -> None:
        """No room in it any more: it is empty, and shall stay so."""
        await self.shop.room(slot_id, 0, self._as_admin)

    async def refund(self, booking_id: str, amount: int) -> Answer:
        """Some money of a booking goes back because the administrator says so."""
        body = {"amount": amount, "reason": "the heating was broken"}
        return await self.shop.refund(booking_id, body, f"refund:{booking_id}", self._as_admin)


def starts_at(text: str) -> datetime:
    """A moment as an answer tells it."""
    return datetime.fromisoformat(text)


def share(starts: datetime) -> int:
    """The percent that cancelling a class gives back now, by the policy as the site tells it."""
    ahead = starts - datetime.now(UTC)
    return max((percent for hours, percent in POLICY if ahead >= timedelta(hours=hours)), default=0)


def is_clear(starts: datetime) -> bool:
    """Whether the share is the same half an hour earlier and later, and the class still ahead."""
    ahead = starts - datetime.now(UTC)
    return ahead > MARGIN and all(abs(ahead - timedelta(hours=hours)) > MARGIN for hours, _ in POLICY)


def _last(today: date) -> date:
    return today + timedelta(days=DAYS)
