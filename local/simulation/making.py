"""Which steps a run takes, and how often which kind of them: made by a seed alone."""

from collections.abc import Callable, Sequence

from local.simulation.booking_steps import BookingSteps
from local.simulation.steps import Step

CLOCK_STEPS = (1, 5)  # for so many steps the clocks are off


def make_steps(seed: str, count: int) -> list[Step]:
    """So many steps; a burst of several at once counts as one."""
    return _Maker(seed).steps(count)


class _Maker(BookingSteps):
    def __init__(self, seed: str) -> None:
        super().__init__(seed)
        self.acts: Sequence[tuple[float, Callable[[], Step]]] = (
            (12, self.hold),
            (14, self.pay_again),
            (16, self.confirm),
            (22, self.deliver),
            (3, self.cancel),
            (4, self.expire),
            (5, lambda: self.called({"do": "cleanup"})),
            (4, lambda: self.called({"do": "outbox"})),
            (3, lambda: self.called({"do": "reconcile"})),
            (1, lambda: self.called({"do": "replay", "status": self.chance.choice(["failed", "parked"])})),
            (3, lambda: {"do": "wait"}),
            (2, lambda: {"do": "drop", "pick": self.pick()}),
            (2.5, self.refund),
            (1.5, self.end_refund),
            (2.5, self.dispute),
            (3, self.decide),
            (2.5, self.settle),
            (1.5, self.second_intent),
            (3, self.end_by_force),
            (1.5, self.clock),
            (0.6, self.begin),
            (0.25, lambda: {"do": "restart", "meanwhile": self.deliver()}),
            (8, self.burst),
            (9, self.book),
            (1, self.show_booking),
            (4, self.cancel_booking),
            (4, self.move),
            (2, self.refund_booking),
            (4, self.grant),
            (0.7, lambda: {"do": "credits expire", "pick": self.pick()}),
            (1.2, self.schedule),
            (1, self.capacity),
            (1, self.price),
            (3, self.sale),
            (0.6, self.greed),
            (0.8, self.rush),
            (7, self.quarrel),
        )

    def steps(self, count: int) -> list[Step]:
        weights = [weight for weight, _ in self.acts]
        makers = [maker for _, maker in self.acts]
        made: list[Step] = []
        right_at = -1
        while len(made) < count:
            step = self.coming.pop(0) if self.coming else self.chance.choices(makers, weights)[0]()
            if step["do"] == "clock":
                right_at = len(made) + 1 + self.chance.randint(*CLOCK_STEPS)
            made.append(step)
            if len(made) == right_at:
                made.append({"do": "clock", "seconds": 0})
        return made
