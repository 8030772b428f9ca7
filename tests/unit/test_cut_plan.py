"""Where a siege cuts: at each boundary of an act's batches, and always so that whoever tries again gets on."""

from random import Random

from local.breakage.cuts import CutPlan
from local.breakage.wire import Batch

HOLD = Batch(("BEGIN", "reserve_tickets", "COMMIT", "Sync"), (b"",) * 4)


def test_every_boundary_of_an_act_is_cut_and_every_third_try_passes() -> None:
    """Once each before any of them twice; then the act has been cut whole."""
    plan = CutPlan(Random(1), enabled=True)
    assert "hold" in plan.uncut()
    places = [plan.boundary(HOLD) for _ in range(7)]
    assert [place is None for place in places] == [False, False, True, False, False, True, False]
    assert sorted(place for place in places if place is not None) == [0, 1, 2, 3, 4]
    assert "hold" not in plan.uncut()
    assert plan.by_act()["hold"] == (5, 5, 5)


def test_nothing_is_cut_before_the_siege_and_after_it() -> None:
    """What passes is known all the same."""
    plan = CutPlan(Random(1))
    assert plan.boundary(HOLD) is None
    assert plan.by_act()["hold"] == (0, 5, 0)
