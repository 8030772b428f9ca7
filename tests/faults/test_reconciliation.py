"""An endpoint that was away for longer than Stripe retries; several reconciliations at once."""

from concurrent.futures import ThreadPoolExecutor

import requests

from tests.faults.cloud import Cloud, Hold

RUNS = 4


def buy_unheard(cloud: Cloud, slot_id: str, mode: str = "payment_intent") -> Hold:
    """A purchase of which Stripe tells nobody."""
    hold = cloud.hold(slot_id)
    payment = cloud.pay(hold, mode=mode).json()
    if mode == "payment_intent":
        cloud.confirm(payment["payment_intent_id"])
    else:
        api_base = cloud.stack["stripe"]["api_base"]
        answer = requests.post(
            f"{api_base}/_emulator/checkout/{payment['checkout_session_id']}/pay",
            json={"payment_method": "pm_card_visa"},
            timeout=10,
        )
        assert answer.status_code == 200, answer.text
    return hold


def test_an_endpoint_that_was_away_longer_than_stripe_retries_gets_everything_back(cloud: Cloud) -> None:
    """Stripe has given every event up. One run: paid holds are bookings, late money has its seats or goes back."""
    slot, full = cloud.slot(units=5), cloud.slot(units=1)
    cloud.faults(drop=1.0)
    in_time = [buy_unheard(cloud, slot), buy_unheard(cloud, slot, "checkout_session")]
    late = buy_unheard(cloud, full)
    # Its hold was ended by hand meanwhile, and somebody else has the seat.
    cloud.rows("SELECT release_holds(ARRAY[%s]::uuid[], 'expired')", late.id)
    winner = cloud.hold(full)
    cloud.faults()

    result = cloud.invoke("reconcile-payments").json()

    assert result["applied"] >= 3
    assert [cloud.status(hold) for hold in in_time] == ["completed", "completed"]
    assert (cloud.status(late), cloud.status(winner)) == ("expired", "active")
    assert cloud.broken_promises() == []
    assert cloud.invoke("reconcile-payments").json()["applied"] == 0


def test_runs_at_once_do_each_thing_once(cloud: Cloud) -> None:
    """Four runs over the same list and the same payments: each purchase is booked once and counted once."""
    slot = cloud.slot(units=40)
    cloud.invoke("reconcile-payments")
    cloud.faults(drop=1.0)
    holds = [buy_unheard(cloud, slot) for _ in range(15)]
    cloud.faults()
    cloud.leases_over()

    def run(_: int) -> requests.Response:
        while "LockTimeout" in (answer := cloud.invoke("reconcile-payments")).text:
            pass  # in vain waited for the others to begin: nothing has been done
        return answer

    with ThreadPoolExecutor(RUNS) as pool:
        runs = list(pool.map(run, range(RUNS)))

    assert not [run.text for run in runs if "X-Amz-Function-Error" in run.headers]
    assert sum(run.json()["applied"] for run in runs) == 2 * len(holds)
    assert {cloud.status(hold) for hold in holds} == {"completed"}
    assert cloud.rows("SELECT held_units, sold_units FROM slots WHERE id = %s", slot) == [(0, len(holds))]
    told = "SELECT count(*) FROM outbox WHERE payload ->> 'reservation_id' = ANY (%s)"
    assert cloud.value(told, [hold.id for hold in holds]) == len(holds)
    assert cloud.broken_promises() == []
