"""Refunds and notifications, with several of everybody who sends them."""

import json
from collections import Counter
from uuid import UUID, uuid4

import pytest
from psycopg.errors import CheckViolation

from runtime import settings
from tests.concurrency.guards import rewrite_function, shows
from tests.concurrency.shop import PRICE, Shop
from tests.concurrency.till import Till
from tests.emulator_process import endpoint

ROWS = 20


def captured(shop: Shop) -> UUID:
    """A payment that is captured and booked."""
    intent_id = shop.with_payment(shop.hold({shop.slot(units=5): 1})["id"])
    assert shop.succeeded(intent_id) == "processed"
    return shop.value("SELECT id FROM payment_intents_log WHERE payment_intent_id = %s", intent_id)


def refund_by_thirds(shop: Shop, payment_id: UUID) -> Counter[str]:
    """Thirty refunds at once, each of a third of what was paid."""

    def refund(_: int) -> str:
        insert = "INSERT INTO refunds (payment_id, amount, reason) VALUES (%s, %s, 'test')"
        shop.connection().execute(insert, [payment_id, PRICE // 3])
        return "refunded"

    answers = shop.at_once(30, refund)
    return Counter(answer if isinstance(answer, str) else type(answer).__name__ for answer in answers)


def test_refunds_at_once_never_exceed_what_was_paid(shop: Shop) -> None:
    """Thirty refunds of a third each, at once: three are kept, the others refused, whoever writes them."""
    assert refund_by_thirds(shop, captured(shop)) == {"refunded": 3, CheckViolation.__name__: 27}
    assert "refunds never exceed what was paid" not in {row[0] for row in shop.violations()}
    assert shop.deadlocks() == 0


def test_control_without_the_payments_lock_too_much_goes_back(shop: Shop) -> None:
    """Negative control: where the sum is not made under the payment's lock, more goes back than came in."""
    rewrite_function(shop.owner_url, "check_refunds_fit_the_payment", ("FOR NO KEY UPDATE", ""))
    assert shows(lambda: refund_by_thirds(shop, captured(shop))["refunded"] > 3)
    assert "refunds never exceed what was paid" in {row[0] for row in shop.violations()}


def notifications(shop: Shop) -> None:
    for _ in range(ROWS):
        shop.rows(
            "INSERT INTO outbox (kind, dedupe_key, payload) VALUES ('notification', %s, '{}')",
            f"test:{uuid4()}",
        )


def deliver_together(
    shop: Shop, till: Till, monkeypatch: pytest.MonkeyPatch
) -> tuple[Counter[str], list[dict[str, int] | Exception]]:
    """How often each notification arrived, and what each of four deliverers said."""
    notifications(shop)
    with endpoint() as site:
        monkeypatch.setenv("NOTIFICATION_WEBHOOK_URL", site.url)
        settings._load.cache_clear()
        results = shop.at_once(4, lambda _: till.deliver())
        return Counter(json.loads(body)["id"] for _, body in site.received), results


def claim_without_lease_and_lock(shop: Shop) -> None:
    rewrite_function(
        shop.owner_url,
        "claim_outbox",
        ("AND lease_until <= now()", ""),
        ("FOR NO KEY UPDATE SKIP LOCKED", ""),
    )


def test_deliverers_at_once_send_each_notification_once(
    shop: Shop, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four deliverers at once share the outbox: each row leaves the house once."""
    arrived, results = deliver_together(shop, till, monkeypatch)

    assert (len(arrived), set(arrived.values())) == (ROWS, {1})
    assert sum(result["delivered"] for result in results if isinstance(result, dict)) == ROWS
    assert shop.rows("SELECT DISTINCT status, attempts FROM outbox") == [("delivered", 1)]


def test_control_without_lease_and_lock_a_notification_is_sent_twice(
    shop: Shop, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: where a row is taken without lock and lease, several deliverers send it."""
    claim_without_lease_and_lock(shop)
    assert shows(lambda: max(deliver_together(shop, till, monkeypatch)[0].values(), default=0) > 1)


def refund_together(
    shop: Shop, till: Till, rows: int = ROWS
) -> tuple[list[str], list[dict[str, int] | Exception]]:
    """The intents of holds whose money came too late, and what each of four deliverers of their refunds said."""
    slot = shop.slot(units=rows)
    holds = [shop.hold({slot: 1})["id"] for _ in range(rows)]
    intents = [json.loads(till.pay(hold, None).body)["payment_intent_id"] for hold in holds]
    events = [till.confirm(intent_id) for intent_id in intents]
    shop.rows("UPDATE slots SET starts_at = now() - interval '1 minute' WHERE id = %s", slot)
    assert {till.tell(event) for event in events} == {"processed"}
    return intents, shop.at_once(4, lambda _: till.deliver())


def test_deliverers_at_once_refund_once(shop: Shop, till: Till) -> None:
    """Money of holds whose time has come goes back once each, with four deliverers at work; each is asked for once."""
    intents, results = refund_together(shop, till)

    assert not [result for result in results if isinstance(result, Exception)], results
    sent = [till.stripe.refunds.list({"payment_intent": intent_id}).data for intent_id in intents]
    assert [[refund.amount for refund in refunds] for refunds in sent] == [[PRICE]] * ROWS
    assert shop.rows("SELECT DISTINCT status FROM refunds") == [("succeeded",)]
    assert shop.rows("SELECT DISTINCT attempts FROM outbox WHERE kind = 'refund'") == [(1,)]
    assert shop.rows("SELECT DISTINCT refunded_amount FROM payment_intents_log") == [(PRICE,)]
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_lease_and_lock_a_refund_is_asked_for_twice(shop: Shop, till: Till) -> None:
    """Negative control: then it is Stripe alone, by our key, that does not send it twice."""
    claim_without_lease_and_lock(shop)

    def race() -> bool:
        refund_together(shop, till, rows=5)
        return shop.value("SELECT max(attempts) > 1 FROM outbox WHERE kind = 'refund'")

    assert shows(race)
