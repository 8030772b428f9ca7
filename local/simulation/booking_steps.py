"""What happens to bookings, credits and the catalogue, step by step: those who book without paying, and administrators."""

from collections.abc import Callable, Sequence

from local.simulation.steps import CUSTOMERS, FREE, MODES, NEWEST, SLOTS, TOGETHER, PaymentSteps, Step

USERS = 2
DISPUTED, NEARER, REFUNDED = 0.4, 0.3, 0.2  # of the sales that are told as a whole
AT_ONCE = 0.4  # of those who book otherwise have just held
HELD_BEFORE = 0.6  # of the changes of a price
BEGUN = 0.4  # of those have begun to pay
MANY = 20  # holds, among which one is looked for that nobody has tried to pay
NOT_YET = 0.75  # of the holds that are booked otherwise nobody has tried to pay
WHOLE_CREDITS = 0.6  # of the grants are spent at once
CREDITS_WAYS = 5
OTHERWISE = ("free", *("pay_on_arrival",) * 5, *("credits",) * CREDITS_WAYS)
VERSIONS = (*("right",) * 8, "old", "old", "none")
WHO = ("token", "token", "owner", "admin")
GOOD_CARDS = (*("pm_card_visa",) * 3, "pm_card_pendingRefund", "pm_card_refundFail")
ROOM = (1, 2, 3, 3, 4)  # bookings and units that a slot is given
PRICES = (4500, 4500, 5000, 100)
CREDITS_PRICES = (1, 1, 2, None)
HOURS_LEFT = (0, 12, 30)  # until a slot begins: nothing of a price goes back, then half of it


class BookingSteps(PaymentSteps):
    """The steps of a run, those of the booking side too. Lines of bookings go by number, users and slots as well."""

    def __init__(self, seed: str) -> None:
        super().__init__(seed)
        self.booked: list[int] = []
        self.grants: list[Step] = []

    def about_a_booking(self, step: Step) -> Step:
        """One of the last holds that somebody has paid or booked otherwise."""
        return self.about_a_hold(step, self.booked + self.paid)

    def book(self, hold: int | None = None) -> Step:
        """By other means than a payment; now and then although somebody is paying, or has paid."""
        chance = self.chance
        if hold is None and chance.random() < AT_ONCE:
            return self.other_means()
        taken = {*self.paid, *self.asked_to_pay, *self.booked}
        unpaid = (
            [label for label in self.holds[-MANY:] if label not in taken]
            if chance.random() < NOT_YET
            else None
        )
        step: Step = {"do": "book"} if hold is None else {"do": "book", "hold": hold}
        if hold is None and (step := self.about_a_hold(step, unpaid))["do"] == "hold":
            return step
        is_free = self.slot_of[step["hold"]] == FREE and chance.random() < 0.9
        ways = OTHERWISE if self.grants else OTHERWISE[:-CREDITS_WAYS]
        step |= {"method": "free" if is_free else chance.choice(ways), "key": chance.randrange(3)}
        step["user"] = chance.randrange(USERS) if chance.random() < 0.95 else None
        self.booked.append(step["hold"])
        return self.called(step)

    def other_means(self) -> Step:
        """A hold that is booked otherwise; its buyer may have begun to pay, and go on with that in the other tab."""
        chance = self.chance
        held = self.hold(chance.choice((*range(SLOTS), *range(TOGETHER))))
        same, coming = {"hold": held["hold"]}, [self.book(held["hold"])]
        if chance.random() < BEGUN:
            mode = MODES[chance.random() < 0.35]
            tab: Step = {"do": "confirm", "method": "pm_card_visa", "fails": False}
            coming = [self.called({"do": "pay", "mode": mode, "key": 0} | same), *coming]
            coming += [tab | same, {"do": "deliver", "picks": NEWEST}]
        self.coming = coming
        return held

    def changed(self, step: Step) -> Step:
        """A step that changes a booking, of the version that its sender has seen."""
        chance = self.chance
        step |= {"version": chance.choice(VERSIONS), "who": chance.choice(WHO)}
        step = self.about_a_booking(step)
        return step if step["do"] == "hold" else self.called(step)

    def show_booking(self) -> Step:
        return self.about_a_booking({"do": "show booking", "who": self.chance.choice(WHO)})

    def cancel_booking(self) -> Step:
        return self.changed({"do": "cancel booking"})

    def move(self, slot: int | None = None) -> Step:
        """Most often to a slot of the same offering; which line is said more often than not."""
        chance = self.chance
        if slot is None:
            slot = chance.randrange(TOGETHER) if chance.random() < 0.9 else chance.randrange(SLOTS)
        return self.changed({"do": "move", "slot": slot, "item": chance.choice((None, 0, 0, 1))})

    def refund_booking(self) -> Step:
        """Of the price: a part, all that is left, or more than there is."""
        part = self.chance.choice((0.3, 0.5, None, 1.0, 1.5))
        step = self.about_a_booking({"do": "refund booking", "part": part, "key": self.chance.randrange(3)})
        return step if step["do"] == "hold" else self.called(step)

    def grant(self) -> Step:
        """Credits given or taken; sent twice under one key; spent at once, and the booking cancelled, twice."""
        chance = self.chance
        if self.grants and chance.random() < 0.15:
            return self.called(dict(chance.choice(self.grants[-3:])))
        user, delta = chance.randrange(USERS), chance.choice((1, 1, 2, 3, -1, -2))
        step: Step = {"do": "grant", "grant": len(self.grants) + 1, "user": user, "delta": delta}
        step["key"] = chance.random() < 0.8
        if delta > 0 and chance.random() < 0.4:
            step["expires"] = True
        self.grants.append(dict(step))
        if delta > 0 and chance.random() < WHOLE_CREDITS:
            times = chance.choice((1, 2, 2))
            step["delta"] = self.grants[-1]["delta"] = delta if times == 1 else 1
            self.coming = self.spent_by(user, times)
        return self.called(step)

    def spent_by(self, user: int, times: int) -> list[Step]:
        """Holds booked with credits, at once where there are several; one of them cancelled, and cancelled again."""
        chance = self.chance
        customers = chance.sample(range(CUSTOMERS), k=times)
        holds = [self.hold(chance.randrange(TOGETHER), customer) for customer in customers]
        booked = [self.book(hold["hold"]) | {"method": "credits", "user": user} for hold in holds]
        again: Step = {"do": "cancel booking", "hold": holds[0]["hold"], "version": "right", "who": "token"}
        twice = [self.called(dict(again)), again]
        return [
            *holds,
            *(booked if times == 1 else [{"do": "at once", "steps": booked}]),
            *(twice if chance.random() < 0.5 else [{"do": "at once", "steps": twice}]),
        ]

    def schedule(self) -> Step:
        """Some of the three times, with more or less room."""
        chance = self.chance
        times = sorted(chance.sample(range(TOGETHER), k=chance.choice((0, 1, 2, 2, 3, 3, 3, 3))))
        room = [[chance.choice(ROOM), chance.choice(ROOM)] for _ in times]
        return self.called({"do": "schedule", "times": times, "room": room, "twice": chance.random() < 0.3})

    def capacity(self, slot: int | None = None) -> Step:
        chance = self.chance
        slot = chance.randrange(SLOTS) if slot is None else slot
        return self.called(
            {"do": "capacity", "slot": slot, "room": [chance.choice(ROOM), chance.choice(ROOM)]}
        )

    def price(self) -> Step:
        """Of the scheduled offering; now and then between a hold and its payment, in money or credits."""
        chance = self.chance
        step: Step = {
            "do": "price",
            "amount": chance.choice(PRICES),
            "credits": chance.choice(CREDITS_PRICES),
        }
        step |= {"version": chance.choice(VERSIONS), "on_arrival": chance.random() < 0.8}
        if chance.random() < HELD_BEFORE:
            hold, user = self.hold(chance.randrange(TOGETHER)), chance.randrange(USERS)
            credits_of: Step = {
                "do": "grant",
                "grant": len(self.grants) + 1,
                "user": user,
                "delta": 3,
                "key": True,
            }
            self.grants.append(credits_of)
            paid = {"do": "pay", "mode": MODES[0], "key": 0, "hold": hold["hold"]}
            booked = self.book(hold["hold"]) | {"method": "credits", "user": user}
            self.coming = [
                credits_of,
                step | {"version": "right"},
                self.called(chance.choice((paid, booked))),
            ]
            return hold
        return self.called(step)

    def greed(self) -> Step:
        """A customer who pays on arrival, and holds as many as they can besides."""
        chance = self.chance
        customer = chance.randrange(CUSTOMERS)
        steps: list[Step] = []
        for slot in (0, 1, 0):
            held = self.hold(slot, customer)
            steps += [held, self.book(held["hold"]) | {"method": "pay_on_arrival"}]
        more = [self.hold(slot, customer) for slot in (SLOTS - 2, SLOTS - 2, SLOTS - 2, 1)]
        self.coming = [*steps[1:], {"do": "at once", "steps": more}]
        return steps[0]

    def begin(self) -> Step:
        """Most often it has begun for good; else it is so near that not all of a price goes back."""
        return {"do": "begin", "slot": self.chance.randrange(SLOTS), "hours": self.chance.choice(HOURS_LEFT)}

    def sale(self) -> Step:
        """A hold that is paid, and its booking changed; a bank may have a word meanwhile."""
        chance = self.chance
        hold = self.hold(chance.randrange(TOGETHER))
        same, newest = {"hold": hold["hold"]}, {"do": "deliver", "picks": NEWEST}
        self.paid.append(hold["hold"])
        self.coming = [
            {"do": "pay", "mode": MODES[0], "key": 0} | same,
            {"do": "confirm", "method": chance.choice(GOOD_CARDS), "fails": False} | same,
            newest,
        ]
        if chance.random() < DISPUTED:
            self.coming += [{"do": "dispute", "inquiry": chance.random() < 0.3} | same, newest]
        if chance.random() < NEARER:
            hours = chance.choice(HOURS_LEFT[1:])
            self.coming += [{"do": "begin", "slot": hold["slots"][0], "hours": hours}]
            self.coming += [self.move() | same | {"version": "right", "item": 0}]
        if chance.random() < REFUNDED:
            again = self.refund_booking() | same | {"part": 0.3, "key": 1}
            self.coming += [again, dict(again)]
        self.coming += [self.changes(hold["hold"])]
        return hold

    def rush(self) -> Step:
        """Three bookings that all want to be in the smallest slot."""
        customers = self.chance.sample(range(CUSTOMERS), k=3)
        holds: list[Step] = [
            self.hold(slot, customer) | {"slots": [slot], "units": 1}
            for slot, customer in zip((0, 1, 0), customers, strict=True)
        ]
        booked = [self.book(hold["hold"]) | {"method": "pay_on_arrival"} for hold in holds]
        moves: list[Step] = [
            {
                "do": "move",
                "hold": hold["hold"],
                "slot": TOGETHER - 1,
                "item": 0,
                "version": "right",
                "who": "token",
            }
            for hold in holds
        ]
        room: list[Step] = [{"do": "capacity", "slot": slot, "room": [4, 4]} for slot in (0, 1)]
        self.coming = [room[1], *holds, *booked, {"do": "at once", "steps": moves}]
        return room[0]

    def changes(self, hold: int) -> Step:
        """Several changes of one booking at once."""
        kinds = (self.cancel_booking, self.cancel_booking, self.move, self.move, self.refund_booking)
        steps = [self.chance.choice(kinds)() for _ in range(self.chance.randint(2, 3))]
        return {"do": "at once", "steps": [step | {"hold": hold} for step in steps]}

    def quarrel(self) -> Step:
        """Several at once of the booking side, of a kind that has something to quarrel about."""
        chance = self.chance
        slot, other = chance.sample(range(TOGETHER), k=2)
        held, booked = self.about_a_hold({}), self.about_a_booking({})
        if "do" in held or "do" in booked:
            return held
        hold, same = held["hold"], {"hold": booked["hold"]}
        user = {"method": "credits", "user": chance.randrange(USERS)}
        recent = self.holds[-3:]
        kinds: Sequence[Callable[[], list[Step]]] = (
            lambda: [self.book(hold) | user for _ in range(3)],
            lambda: [self.book(label) | user for label in recent],
            lambda: [self.book(hold), self.pay() | {"hold": hold}, self.confirm() | {"hold": hold}, self.deliver()],
            lambda: [self.book(hold), self.cancel() | {"hold": hold}, self.called({"do": "cleanup"})],
            lambda: self.changes(booked["hold"])["steps"],
            lambda: [*self.changes(booked["hold"])["steps"], self.dispute() | same, self.deliver(), {"do": "outbox"}],
            lambda: [self.refund_booking() | same for _ in range(3)],
            lambda: [self.refund_booking() | same | {"part": 0.3, "key": 1} for _ in range(2)],
            lambda: [self.move(slot), self.move(slot), self.hold(slot)],
            lambda: [self.move(TOGETHER - 1) | {"version": "right"} for _ in range(4)],
            lambda: [self.move(slot), self.move(other), self.hold(slot), self.hold(other)],
            lambda: [self.schedule(), self.hold(slot), self.hold(other), self.move(slot)],
            lambda: [self.schedule(), self.schedule(), self.book(hold)],
            lambda: [self.capacity(slot), self.hold(slot), self.hold(slot), self.move(slot)],
            lambda: [self.price(), self.price(), self.hold(slot), self.pay()],
            lambda: [self.called(dict(self.grants[-1])) for _ in range(2)] if self.grants else [self.grant()],
            lambda: [self.grant(), self.book(hold) | user, self.book(recent[0]) | user, {"do": "cleanup"}],
        )  # fmt: skip
        return {"do": "at once", "steps": chance.choice(kinds)()}
