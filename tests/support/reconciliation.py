"""What tests of reconciliation do and look at."""

from typing import Any

from tests.support.app import App, Payment

NOTHING = {
    "events_fetched": 0,
    "applied": 0,
    "payments_asked": 0,
    "retried": 0,
    "dead": 0,
    "rematched": 0,
    "more": False,
}


def reconcile(app: App, *, seconds_left: float = 60) -> dict[str, Any]:
    return app.invoke("reconcile-payments", seconds_left=seconds_left)


def paid(app: App, slot: str | None = None) -> Payment:
    """A payment of which only Stripe knows that it is paid."""
    payment = app.payment(app.hold(slot or app.slot()))
    app.confirm(payment)
    return payment


def all_due(app: App) -> None:
    """Lets every pause be over: as if hours had gone by."""
    app.rows("UPDATE webhook_events_log SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL")
    app.rows("UPDATE payment_intents_log SET next_reconcile_at = now()")


def event_row(app: App, event_id: str) -> tuple[Any, ...]:
    return app.row(
        "SELECT status, attempts, deliveries FROM webhook_events_log WHERE event_id = %s", event_id
    )


def ours(payment_id: str) -> dict[str, Any]:
    return {"metadata": {"holdfast_payment_id": payment_id}}


def changes(app: App) -> dict[str, Any]:
    """The database but for what says that a run has been."""
    rows = app.dump()
    del rows["job_runs"], rows["job_cursors"]
    rows["payment_intents_log"] = app.value(
        "SELECT json_agg(to_jsonb(p) - '{next_reconcile_at,updated_at}'::text[] ORDER BY id)::text"
        " FROM payment_intents_log p"
    )
    return rows


def poison(app: App) -> None:
    """From now on no booking can be made; `cure` ends it."""
    app.rows(
        """
        CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'poisoned' USING ERRCODE = 'check_violation'; END $$;
        CREATE TRIGGER poison BEFORE INSERT ON bookings FOR EACH ROW EXECUTE FUNCTION poison();
        """
    )


def cure(app: App) -> None:
    app.rows("DROP TRIGGER poison ON bookings")
