"""The network between functions and database, cut where a step says."""

from dataclasses import dataclass

from local.chaos.cuts import CutPlan
from local.chaos.wire import Batch


@dataclass
class StepCuts(CutPlan):
    """Cuts one connection for a step that asks for it: in its batch of this number, so far into its statements."""

    armed: tuple[int, float] | None = None

    def boundary(self, batch: Batch) -> int | None:
        """After how many statements of this batch its connection is cut; None: it is not."""
        self.shapes[batch.steps] = batch.name
        if self.armed is None:
            return None
        number, where = self.armed
        if number > 0:
            self.armed = (number - 1, where)
            return None
        self.armed = None
        place = int(where * (len(batch.steps) + 1))
        self.cuts[batch.steps, place] += 1
        return place
