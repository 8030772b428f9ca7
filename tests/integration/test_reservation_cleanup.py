"""Expiry: what is over ends, once, and only after Stripe has closed its payment."""

import time
from typing import Any

import pytest

from tests.support.app import App, Payment
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres

NOTHING = {"released": 0, "confirmed": 0, "kept": 0, "failed": 0, "credits_expired": 0, "more": False}


def clean_up(app: App, *, seconds_left: float = 30) -> dict[str, Any]:
    return app.invoke("reservation-cleanup", seconds_left=seconds_left)


def over(app: App, slot: str, mode: str = "payment_intent") -> Payment:
    """A payment that is open at Stripe, whose hold is over."""
    payment = app.payment(app.hold(slot), mode=mode)
    app.expire(payment.hold)
    return payment


@on_every_postgres
def test_unpaid_holds_are_released(app: App) -> None:
    """What is over goes, what is not stays; a second run does nothing."""
    slot = app.slot()
    gone, alive = app.hold(slot, 2), app.hold(slot, 3)
    app.expire(gone)
    assert clean_up(app) == NOTHING | {"released": 1}
    assert (app.status(gone), app.status(alive)) == ("expired", "active")
    assert app.counts(slot) == (3, 0, 1, 0)
    assert clean_up(app) == NOTHING
    assert app.violations() == []


@pytest.mark.parametrize("mode", ["payment_intent", "checkout_session"])
@on_every_postgres
def test_a_hold_with_a_payment_goes_once_stripe_has_closed_it(app: App, mode: str) -> None:
    """The intent is canceled or the session expired, then the seats go."""
    slot = app.slot()
    payment = over(app, slot, mode)
    assert clean_up(app) == NOTHING | {"released": 1}
    if payment.session_id:
        assert app.stripe_client.v1.checkout.sessions.retrieve(payment.session_id).status == "expired"
    else:
        assert [intent.status for intent in app.intents(payment.hold)] == ["canceled"]
    assert app.status(payment.hold) == "expired"
    assert app.counts(slot) == (0, 0, 0, 0)
    assert clean_up(app) == NOTHING
    assert app.violations() == []


@on_every_postgres
def test_a_cancel_that_lost_to_a_payment_confirms(app: App) -> None:
    """A paid hold never expires: Stripe says paid, so it is booked."""
    slot = app.slot()
    payment = over(app, slot)
    app.confirm(payment)
    assert clean_up(app) == NOTHING | {"confirmed": 1}
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.count("refunds") == 0
    assert app.violations() == []


def test_a_session_that_was_paid_is_confirmed(app: App) -> None:
    """The same for the hosted page."""
    slot = app.slot()
    payment = over(app, slot, "checkout_session")
    app.confirm(payment)
    assert clean_up(app)["confirmed"] == 1
    assert app.counts(slot) == (0, 1, 0, 1)


@on_every_postgres
def test_while_stripe_does_not_answer_the_hold_is_kept(app: App) -> None:
    """No answer: kept with its seats, asked again 30 seconds later and not before."""
    slot = app.slot()
    payment = over(app, slot)
    path = f"/v1/payment_intents/{payment.intent_id}/cancel"
    app.faults({"method": "POST", "path": path, "times": 3, "timeout_before": True})
    assert clean_up(app) == NOTHING | {"kept": 1}
    assert app.counts(slot) == (1, 0, 1, 0)
    app.faults()
    assert clean_up(app) == NOTHING
    wait = app.value("SELECT extract(epoch FROM next_ask_at - now()) FROM payment_intents_log")
    assert 20 < wait <= 30
    app.leases_over()
    assert clean_up(app) == NOTHING | {"released": 1}
    assert app.violations() == []


def test_while_the_money_is_on_its_way_the_hold_is_kept(app: App) -> None:
    """Stripe says requires_action or processing, and will not let go: kept."""
    slot = app.slot()
    payment = over(app, slot)
    path = f"/v1/payment_intents/{payment.intent_id}/cancel"
    app.faults({"method": "POST", "path": path, "times": 1, "status": 400})
    assert clean_up(app) == NOTHING | {"kept": 1}
    assert app.status(payment.hold) == "active"
    assert app.counts(slot) == (1, 0, 1, 0)


@pytest.mark.parametrize("lost", ["timeout_before", "timeout_after"])
@on_every_postgres
def test_a_payment_that_nobody_heard_of_is_found_and_cancelled_before_the_seats_go(
    app: App, lost: str
) -> None:
    """The execution environment died between payment row and intent, and the hold expired."""
    slot = app.slot()
    hold = app.hold(slot)
    app.faults({"method": "POST", "path": "/v1/payment_intents", "times": 3, lost: True})
    assert app.pay(hold).status == 503
    app.faults()
    app.rows("UPDATE payment_intents_log SET status = 'creating'")
    app.expire(hold)
    assert clean_up(app) == NOTHING | {"released": 1}
    assert [intent.status for intent in app.intents(hold)] == ["canceled"]
    assert app.status(hold) == "expired"
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []


@on_every_postgres
def test_a_lease_that_is_running_is_left_alone(app: App) -> None:
    """Whoever is at Stripe with the payment has it alone; a lease that is over is taken."""
    slot = app.slot()
    over(app, slot)
    app.rows("UPDATE payment_intents_log SET lease_until = now() + interval '1 hour'")
    assert clean_up(app) == NOTHING
    app.leases_over()
    assert clean_up(app)["released"] == 1


@on_every_postgres
def test_an_owner_that_lost_its_lease_changes_nothing(app: App) -> None:
    """A late write under an old fencing token changes no row."""
    payment = over(app, app.slot())
    attempt = app.value("SELECT attempt FROM payment_intents_log")
    app.rows("UPDATE payment_intents_log SET attempt = attempt + 1")
    before = app.dump()
    assert app.value("SELECT finish_close(%s, %s)", payment.id, attempt) is None
    app.rows("SELECT keep_payment(%s, %s, true, interval '1 hour', interval '7 days')", payment.id, attempt)
    app.rows("SELECT leave_payment_unknown(%s, %s)", payment.id, attempt)
    assert app.value("SELECT take_next_payment_key(%s, %s)", payment.id, attempt) is None
    recorded = "SELECT record_payment(%s, %s, 'pi_late', NULL, 'succeeded')"
    assert app.value(recorded, payment.id, attempt) == "superseded"
    assert app.dump() == before


def test_one_that_fails_does_not_stop_the_others(app: App, logs: Logs) -> None:
    """A hold that cannot be ended is counted and logged; the others end."""
    slot = app.slot()
    payments = [over(app, slot) for _ in range(3)]
    app.rows(
        f"""
        CREATE FUNCTION break_one() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'broken' USING ERRCODE = 'check_violation'; END $$;
        CREATE TRIGGER break_one BEFORE UPDATE OF canceled_at ON payment_intents_log FOR EACH ROW
        WHEN (NEW.id = '{payments[1].id}' AND NEW.canceled_at IS NOT NULL) EXECUTE FUNCTION break_one();
        """
    )
    assert clean_up(app) == NOTHING | {"released": 2, "failed": 1}
    assert app.status(payments[1].hold) == "active"
    assert app.counts(slot) == (1, 0, 1, 0)
    assert any(line.get("payment_id") == payments[1].id for line in logs.lines("ERROR"))


@on_every_postgres
def test_many_batches_in_one_run(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a batch of each kind goes in one run."""
    monkeypatch.setattr("functions.reservation_cleanup.service.UNPAID_BATCH", 4)
    slot = app.slot(units=50)
    for _ in range(10):
        over(app, slot)
    app.expire(*[app.hold(slot) for _ in range(10)])
    assert clean_up(app) == NOTHING | {"released": 20}
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []


def test_a_run_without_time_left_says_that_there_is_more(app: App) -> None:
    """Time-boxed: what is left is for the next run."""
    over(app, app.slot())
    assert clean_up(app, seconds_left=1)["more"] is True
    assert clean_up(app)["more"] is False


@on_every_postgres
def test_each_run_leaves_a_row_and_forgets_old_keys(app: App) -> None:
    """The run's result is in job_runs; keys are kept 48 hours and then forgotten."""
    app.rows(
        """
        INSERT INTO idempotency_keys (scope, key, request_hash, lease_until, created_at)
        VALUES ('s', 'old', 'h', now(), now() - interval '49 hours'), ('s', 'new', 'h', now(), now() - interval '47 hours')
        """
    )
    app.expire(app.hold(app.slot()))
    result = clean_up(app)
    job, logged, request_id = app.row("SELECT job, result, request_id FROM job_runs")
    assert (job, logged) == ("reservation-cleanup", result)
    assert request_id
    assert app.value("SELECT started_at <= finished_at FROM job_runs")
    assert app.rows("SELECT key FROM idempotency_keys") == [("new",)]


def test_what_was_done_is_counted(app: App, logs: Logs) -> None:
    """A metric for each outcome."""
    app.expire(app.hold(app.slot()))
    clean_up(app)
    assert {"Released", "Confirmed", "Kept", "Failed"} <= logs.counted()


@on_every_postgres
def test_an_operator_may_release_unpaid_holds_in_psql(app: App) -> None:
    """`cleanup_expired_reservations()` touches holds without a payment only."""
    slot = app.slot()
    payment = over(app, slot)
    app.expire(app.hold(slot))
    assert app.value("SELECT cleanup_expired_reservations()") == 1
    assert app.status(payment.hold) == "active"
    assert app.counts(slot) == (1, 0, 1, 0)


# A full slot whose seats wait only for payments that Stripe can end.


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The buyer waits for a Stripe that answers late, as it may on a busy machine."""
    monkeypatch.setattr("functions.reservations.service.HASTY_SECONDS_A_TRY", 10)


@pytest.mark.usefixtures("patient")
@on_every_postgres
def test_a_full_slot_asks_stripe_about_payments_whose_holds_are_over(app: App) -> None:
    """The next buyer does not wait for the cleanup: Stripe is asked, the seats are free, the hold is granted."""
    slot = app.slot(units=3)
    old = [over(app, slot) for _ in range(3)]
    app.hold(slot, 3)
    assert {app.status(payment.hold) for payment in old} == {"expired"}
    assert app.counts(slot) == (3, 0, 1, 0)
    assert app.violations() == []


@pytest.mark.usefixtures("patient")
def test_of_a_full_slot_three_payments_at_most_are_asked_about(app: App) -> None:
    """Three, in parallel; a buyer does not wait for a whole hall."""
    slot = app.slot(units=5)
    for _ in range(5):
        over(app, slot)
    assert app.try_hold(slot, 4).problem == "sold-out"
    assert app.status_counts() == {"active": 2, "expired": 3}
    app.hold(slot, 3)


def test_a_stripe_that_does_not_answer_costs_a_buyer_two_seconds(app: App) -> None:
    """Two seconds at most, then sold out; the seats stay with their holds."""
    slot = app.slot(units=2)
    payments = [over(app, slot) for _ in range(2)]
    app.faults(
        *(
            {
                "method": "POST",
                "path": f"/v1/payment_intents/{payment.intent_id}/cancel",
                "times": 5,
                "delay_ms": 8000,
            }
            for payment in payments
        )
    )
    started = time.monotonic()
    answer = app.try_hold(slot)
    assert answer.problem == "sold-out"
    assert time.monotonic() - started < 4
    assert app.counts(slot) == (2, 0, 2, 0)


@pytest.mark.usefixtures("patient")
def test_a_full_slot_of_paid_holds_stays_full(app: App) -> None:
    """Stripe says paid: those holds are booked, the buyer hears sold out."""
    slot = app.slot(units=1)
    payment = over(app, slot)
    app.confirm(payment)
    assert app.try_hold(slot).problem == "sold-out"
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.status(payment.hold) == "completed"
    assert app.violations() == []
