"""What happens, step by step: made by a seed alone, so that a seed repeats, and a step may be left out of a list.

A step is a JSON object: `do` says what, the rest with what. Holds go by labels, and bookings by their holds'; a step
that names one which was never granted does nothing. Few slots with few seats, few customers, few users with few credits:
that everybody meets everybody is the rule.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from local.breakage.kills import named_kill_points

type Step = dict[str, Any]

# The first three are one offering's, which is sold for credits and on arrival too, and whose times its schedule makes;
# the last costs nothing.
SLOTS = 5
TOGETHER = 3
FREE = 4
SLOT_WEIGHTS = (5, 5, 5, 3, 1)
CUSTOMERS = 4
NEWEST = [0.999, 0.96, 0.92, 0.88, 0.84]  # events
WHOLE_STORY = 0.7  # of the holds that end by force, their seats are taken and they are paid
OVER_BEFORE = 0.25  # of them are over already
PAID_ONCE = 0.8  # of those who have tried a card that works try no other
TRIES_AGAIN = 0.7  # of those whose payment came to grief
REMEMBERED = 6  # holds: of older ones nothing new is heard
MODES = ("payment_intent", "checkout_session")
METHODS = (
    *("pm_card_visa",) * 10,
    *("pm_card_visa_chargeDeclined",) * 2,
    *("pm_card_authenticationRequired",) * 2,
    *("pm_card_pendingRefund",) * 2,
    "pm_card_refundFail",
    "pm_card_createDispute",
    "pm_card_createDisputeInquiry",
    "pm_success_at",
    "pm_failed_at",
    "pm_disputed_at",
    *("pm_boleto",) * 2,
)
FAULTS: Mapping[str, Mapping[str, object]] = {
    "timeout before": {"timeout_before": True},
    "timeout after": {"timeout_after": True},
    "429": {"status": 429},
    "500": {"status": 500},
}
# Where whoever does this may die: the beginnings of the kill points' names.
DIES_AT = {
    "pay": ("pay", "close", "settle"),
    "cancel": ("close", "settle"),
    "book": ("book", "close", "settle"),
    "cancel booking": ("change",),
    "refund booking": ("change",),
    "cleanup": ("close", "settle"),
    "deliver": ("webhook", "ledger", "settle"),
    "outbox": ("outbox", "ledger"),
    "reconcile": ("reconcile", "webhook", "settle", "ledger"),
    "replay": ("replay", "webhook", "ledger"),
}
CRASHES, CUTS, STRUCK = 0.1, 0.08, 0.08  # of the calls
CUT_BATCHES = (0, 0, 0, 1, 1, 2, 3)
CLOCKS_S = (-6 * 3600, -3600, -600, -400, 400, 600, 3600, 6 * 3600)


class PaymentSteps:
    """What a run has so far, and what may come next of it: holds, payments, Stripe's word, time and jobs."""

    def __init__(self, seed: str) -> None:
        self.chance = Random(seed)
        self.kill_points = named_kill_points()
        self.labels = 0
        self.holds: list[int] = []
        self.asked_to_pay: list[int] = []
        self.paid: list[int] = []
        self.slot_of: dict[int, int] = {}
        self.coming: list[Step] = []

    def pick(self) -> float:
        """Which of many, whatever their number."""
        return self.chance.randrange(1000) / 1000

    def called(self, step: Step) -> Step:
        """A step that a function does: it may die, lose its connection, or meet a Stripe that is unwell."""
        chance = self.chance
        points = [
            point for point in self.kill_points if point.partition(".")[0] in DIES_AT.get(str(step["do"]), ())
        ]
        if points and chance.random() < CRASHES:
            step["dies"] = chance.sample(points, k=min(2, len(points)))
        if chance.random() < CUTS:
            step["cut"] = [chance.choice(CUT_BATCHES), self.pick()]
        if chance.random() < STRUCK:
            step["stripe"] = [chance.choice(list(FAULTS)), chance.randint(1, 4)]
        return step

    def about_a_hold(self, step: Step, among: Sequence[int] | None = None) -> Step:
        """One of the last, the newer the likelier; of `among` where there is one, which may have gone on since."""
        if not self.holds:
            return self.hold()
        newest = (among or self.holds)[::-1][:REMEMBERED]
        return step | {"hold": self.chance.choices(newest, range(len(newest), 0, -1))[0]}

    def hold(self, slot: int | None = None, customer: int | None = None) -> Step:
        chance = self.chance
        if self.holds and slot is None and chance.random() < 0.08:
            return self.called({"do": "hold again", "hold": chance.choice(self.holds[-REMEMBERED:])})
        self.labels += 1
        self.holds.append(self.labels)
        first = chance.choices(range(SLOTS), SLOT_WEIGHTS)[0] if slot is None else slot
        slots = [first, (first + 1) % TOGETHER] if first < TOGETHER and chance.random() < 0.2 else [first]
        chance.shuffle(slots)
        self.slot_of[self.labels] = first
        return self.called(
            {
                "do": "hold",
                "hold": self.labels,
                "customer": chance.randrange(CUSTOMERS) if customer is None else customer,
                "slots": slots,
                "units": 1 if chance.random() < 0.8 else 2,
            }
        )

    def pay(self) -> Step:
        mode = MODES[self.chance.random() < 0.35]
        step = self.about_a_hold({"do": "pay", "mode": mode, "key": self.chance.randrange(2)})
        if step["do"] == "pay" and step["hold"] not in self.asked_to_pay:
            self.asked_to_pay.append(step["hold"])
        return self.called(step)

    def pay_again(self) -> Step:
        """A payment; where that came to grief its buyer tries again, once whoever has died has lost its lease."""
        step = self.pay()
        if step["do"] == "pay" and step.keys() & {"dies", "stripe"} and self.chance.random() < TRIES_AGAIN:
            again = {"do": "pay", "hold": step["hold"], "mode": step["mode"], "key": step["key"]}
            self.coming = [{"do": "wait"}, again]
        return step

    def confirm(self) -> Step:
        step = {"do": "confirm", "method": self.chance.choice(METHODS), "fails": self.chance.random() < 0.2}
        step = self.about_a_hold(step, self.asked_to_pay)
        if step["do"] == "confirm" and step["hold"] in self.asked_to_pay:
            self.paid.append(step["hold"])
            if "Declined" not in step["method"] and self.chance.random() < PAID_ONCE:
                self.asked_to_pay.remove(step["hold"])
        return step

    def deliver(self) -> Step:
        chance = self.chance
        picks = [self.pick() for _ in range(chance.choice((1, 1, 2, 3, 6)))]
        step: Step = {"do": "deliver", "picks": picks}
        if chance.random() < 0.1:
            step["again"] = True
        return self.called(step)

    def cancel(self) -> Step:
        return self.called(self.about_a_hold({"do": "cancel"}))

    def expire(self) -> Step:
        return self.about_a_hold({"do": "expire"})

    def end_by_force(self) -> Step:
        """Late money: others take the seats of a hold that is gone, and then it is paid; it may be disputed as well."""
        chance = self.chance
        step = self.about_a_hold({"do": "end by force"}, self.asked_to_pay)
        if step["do"] == "hold":
            return step
        if chance.random() < OVER_BEFORE:
            self.coming = [step, {"do": "cleanup"}]
            return {"do": "expire", "hold": step["hold"]}
        if chance.random() > WHOLE_STORY:
            return step
        same, newest = {"hold": step["hold"]}, {"do": "deliver", "picks": NEWEST}
        others = [self.hold(self.slot_of[step["hold"]]) for _ in range(chance.randint(0, 3))]
        self.coming = [*others, {"do": "confirm", "method": "pm_card_visa", "fails": False} | same, newest]
        if chance.random() < 0.4:
            self.coming += [{"do": "dispute", "inquiry": False} | same, newest, {"do": "outbox"}]
        return step

    def second_intent(self) -> Step:
        """As if Stripe had forgotten a key; its hold may end before anybody hears of it."""
        step = self.about_a_hold(
            {"do": "second intent", "paid": self.chance.random() < 0.5}, self.asked_to_pay
        )
        if step["do"] == "second intent" and self.chance.random() < WHOLE_STORY:
            over: Step = {"do": "expire", "hold": step["hold"]}
            self.coming = [over, {"do": "cleanup"}, {"do": "reconcile"}, {"do": "deliver", "picks": NEWEST}]
        return step

    def refund(self) -> Step:
        return self.about_a_hold({"do": "refund", "part": self.chance.choice((0.3, 0.5, 1.0))}, self.paid)

    def end_refund(self) -> Step:
        outcome = self.chance.choice(("succeeded", "failed", "canceled"))
        return {"do": "end refund", "pick": self.pick(), "outcome": outcome}

    def dispute(self) -> Step:
        return self.about_a_hold({"do": "dispute", "inquiry": self.chance.random() < 0.3}, self.paid)

    def decide(self) -> Step:
        outcome = self.chance.choice(("under_review", "won", "lost", "warning_closed", "escalate"))
        return {"do": "decide", "pick": self.pick(), "outcome": outcome}

    def settle(self) -> Step:
        outcome = self.chance.choice(("succeeded", "succeeded", "failed", "expired"))
        return self.about_a_hold({"do": "settle", "outcome": outcome}, self.paid)

    def clock(self) -> Step:
        return {"do": "clock", "seconds": self.chance.choice(CLOCKS_S)}

    def burst(self) -> Step:
        """Several at once, of a kind that has something to quarrel about."""
        chance = self.chance
        slot, customer = chance.randrange(SLOTS), chance.randrange(CUSTOMERS)
        held = self.about_a_hold({})
        same = {"hold": held["hold"]}
        kinds: Sequence[Callable[[], list[Step]]] = (
            lambda: [self.hold(slot) for _ in range(chance.randint(3, 5))],
            lambda: [self.hold(customer=customer) for _ in range(4)],
            lambda: [self.called({"do": "hold again", **same}) for _ in range(3)],
            lambda: [self.pay() | same for _ in range(chance.randint(2, 4))],
            lambda: [self.confirm() | same, self.cancel() | same, self.deliver()],
            lambda: [self.confirm() | same, self.pay() | same, self.deliver()],
            lambda: [{"do": "deliver", "picks": [pick]} for pick in [self.pick()] * chance.randint(2, 4)],
            lambda: [self.deliver() for _ in range(3)],
            lambda: [self.called({"do": "cleanup"}), {"do": "cleanup"}, self.deliver(), self.hold(slot)],
            lambda: [self.called({"do": "outbox"}), {"do": "outbox"}, self.deliver()],
            lambda: [self.called({"do": "reconcile"}), {"do": "reconcile"}, self.deliver()],
            lambda: [self.called({"do": "cleanup"}), self.called({"do": "reconcile"}), self.confirm() | same],
            lambda: [self.refund() | same, self.dispute() | same, {"do": "outbox"}, self.deliver()],
        )
        burst = {"do": "at once", "steps": chance.choice(kinds)()}
        unpaid = [hold for hold in self.holds[-REMEMBERED:] if hold not in self.asked_to_pay]
        dead = [hold for hold in unpaid if self.slot_of[hold] == slot]
        if not dead or chance.random() > 0.7:
            return burst
        self.coming = [burst]
        return {"do": "expire", "hold": dead[0]}


def size_of(steps: Sequence[Step]) -> int:
    """How many acts these are: each of a burst counts."""
    return sum(len(step.get("steps", [step])) for step in steps)
