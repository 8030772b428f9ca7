"""Who comes to the sale and what each of them will do, all of it drawn from one seed.

The script repeats; who wins a race does not, that is what a race is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Literal

BUYERS = 400
SEATS = 120  # of the sample concert
# With fewer buyers the hall shrinks with them; below this many seats the first to come would fill it alone.
FEWEST_SEATS = 30
FIRST_S = 0.3
RUSH_S = 4.0

DECLINED = ("pm_card_visa_chargeDeclined", "pm_card_visa_chargeDeclinedInsufficientFunds")
GOOD = ("pm_card_visa", "pm_card_mastercard", "pm_card_amex")
SECURED = ("pm_card_authenticationRequired", "pm_card_threeDSecure2Required")

type Wish = Literal["concert", "chair", "both"]
type Mode = Literal["payment_intent", "checkout_session"]


class Temper(StrEnum):
    """What a buyer who got a hold does with it."""

    PAYS = "pays"
    NEVER_PAYS = "has no card that works"
    WALKS_AWAY = "walks away from the hold"
    LEAVES_PAGE_OPEN = "opens the payment page and leaves"
    CANCELS = "cancels, then tries to pay in another tab"
    CHANGES_MIND = "cancels and pays at the same moment"
    AT_THE_DEADLINE = "pays while Stripe's events are held back, and the hold runs out"
    LATE_SEATS_FREE = "pays after the hold was ended by force, the seats still free"
    LATE_SEATS_GONE = "pays after the hold was ended by force, the seats sold to others"
    LATE_CANCELLED = "cancels a hold that was ended by force, then pays in another tab"


# Those who must get a hold for the story to be told stand at the head of the queue.
FIRST_TO_COME = {
    Temper.WALKS_AWAY: 7,
    Temper.LEAVES_PAGE_OPEN: 6,
    Temper.CANCELS: 2,
    Temper.CHANGES_MIND: 3,
    Temper.AT_THE_DEADLINE: 4,
    Temper.LATE_SEATS_FREE: 3,
    Temper.LATE_SEATS_GONE: 4,
    Temper.LATE_CANCELLED: 1,
}
# In percent of everybody else.
EVERYBODY_ELSE = {
    Temper.PAYS: 86,
    Temper.NEVER_PAYS: 3,
    Temper.WALKS_AWAY: 4,
    Temper.LEAVES_PAGE_OPEN: 3,
    Temper.CANCELS: 2,
    Temper.CHANGES_MIND: 2,
}


@dataclass(frozen=True)
class Script:
    """One buyer. `cards` are tried one after the other; `add_ons` are quantities in the catalogue's order."""

    number: int
    arrives_s: float
    wish: Wish
    party: int
    add_ons: tuple[int, ...]
    mode: Mode
    cards: tuple[str, ...]
    fails_first_authentication: bool
    hold_clicks: int
    pay_clicks: int
    second_tab: bool
    temper: Temper


def write_scripts(seed: str, buyers: int) -> list[Script]:
    """The scripts of all buyers, the same for the same seed and number."""
    share = buyers / BUYERS
    tempers = [temper for temper, count in FIRST_TO_COME.items() for _ in range(max(1, round(count * share)))]
    scripts = [write_script(seed, number, temper) for number, temper in enumerate(tempers)]
    return scripts + [write_script(seed, number) for number in range(len(tempers), buyers)]


def seats_for(buyers: int) -> int:
    """How many seats the hall has when so many come."""
    return min(SEATS, max(FEWEST_SEATS, SEATS * buyers // BUYERS))


def write_script(
    seed: str, number: int, temper: Temper | None = None, tempers: Mapping[Temper, int] = EVERYBODY_ELSE
) -> Script:
    """One of the first to come if a temper is given, else somebody with one of `tempers`, by their weights."""
    random = Random(f"{seed}:{number}")
    first = temper is not None
    chosen = temper or _drawn(random, tempers.items())
    wish: Wish = "concert" if first else _drawn(random, (("concert", 85), ("chair", 10), ("both", 5)))
    if chosen is Temper.LEAVES_PAGE_OPEN and first and number % 6 == 0:
        wish = "chair"
    return Script(
        number=number,
        arrives_s=random.uniform(0, FIRST_S) if first else random.uniform(FIRST_S, RUSH_S),
        wish=wish,
        party=random.randint(1, 4),
        add_ons=tuple(random.choice((0, 0, 0, 1, 2)) for _ in range(2)),
        mode=_drawn(random, (("payment_intent", 70), ("checkout_session", 30))),
        cards=_cards(random, chosen),
        fails_first_authentication=random.random() < 0.3,
        hold_clicks=2 if random.random() < 0.25 else 1,
        pay_clicks=2 if random.random() < 0.35 else 1,
        second_tab=random.random() < 0.15,
        temper=chosen,
    )


def _cards(random: Random, temper: Temper) -> tuple[str, ...]:
    if temper is Temper.NEVER_PAYS:
        return (random.choice(DECLINED), random.choice(DECLINED))
    last = random.choice(SECURED if random.random() < 0.2 else GOOD)
    return (random.choice(DECLINED), last) if random.random() < 0.25 else (last,)


def _drawn[T](random: Random, weighted: Iterable[tuple[T, int]]) -> T:
    values, weights = zip(*weighted, strict=True)
    return random.choices(values, weights)[0]
