"""The connection to the database is cut at every message in turn: in the middle, and at COMMIT, whose answer is lost."""

from collections.abc import Callable, Generator
from urllib.parse import urlsplit

import pytest

from tests.faults.cutting_proxy import CuttingProxy, Where, cutting_proxy
from tests.support.app import App

# More than any call below sends, the start of a new connection included; where it is not reached nothing is cut.
MESSAGES = range(1, 7)


@pytest.fixture
def proxy(app: App) -> Generator[CuttingProxy]:
    """The functions reach their database through this."""
    direct = urlsplit(app.app_url)
    assert direct.port is not None
    with cutting_proxy(direct.port) as proxy:
        app.set(DATABASE_URL=direct._replace(netloc=f"app@127.0.0.1:{proxy.port}").geturl())
        yield proxy
        app.forget()


def at_every_message(proxy: CuttingProxy, where: Where, story: Callable[[Callable[[], None]], None]) -> int:
    """Tells the story once for each message, with the cut armed by the story itself; answers how often it was cut."""
    cuts = 0
    for message in MESSAGES:
        story(lambda message=message: proxy.arm(message, where))
        cuts += proxy.has_cut
        proxy.arm(0, where)
    return cuts


WHERE = pytest.mark.parametrize("where", ["before", "after"])


@WHERE
@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "unkeyed"])
def test_a_cut_hold_is_held_once(app: App, proxy: CuttingProxy, where: Where, keyed: bool) -> None:
    """A hold whose connection breaks is granted all the same, and there is one of it."""

    def story(arm: Callable[[], None]) -> None:
        slot = app.slot(units=5)
        app.hold(slot)
        arm()
        answer = app.try_hold(slot, key=f"a-key-for-{slot}" if keyed else None)
        assert answer.status == 201
        assert app.counts(slot) == (2, 0, 2, 0)

    assert at_every_message(proxy, where, story) >= 1
    assert app.violations() == []


@WHERE
def test_a_cut_payment_is_made_once(app: App, proxy: CuttingProxy, where: Where) -> None:
    """A payment whose connection breaks, before Stripe or after, is one payment at Stripe and answered 201."""

    def story(arm: Callable[[], None]) -> None:
        hold = app.hold(app.slot())
        arm()
        answer = app.pay(hold, key="key")
        assert answer.status == 201, answer
        assert len(app.intents(hold)) == 1
        assert app.value("SELECT count(*) FROM payment_intents_log WHERE reservation_id = %s", hold.id) == 1
        assert app.pay(hold, key="key").body == answer.body

    assert at_every_message(proxy, where, story) >= 2
    assert app.violations() == []


@WHERE
def test_a_cut_webhook_is_applied_once(app: App, proxy: CuttingProxy, where: Where) -> None:
    """A webhook whose connection breaks, at COMMIT too, is a booking once and answers 200."""

    def story(arm: Callable[[], None]) -> None:
        slot = app.slot()
        payment = app.payment(app.hold(slot))
        app.confirm(payment)
        event = app.event(payment.intent_id, "payment_intent.succeeded")
        arm()
        assert app.outcome(event) in ("processed", "duplicate")
        assert app.counts(slot) == (0, 1, 0, 1)
        reason = "SELECT count(*) FROM outbox WHERE payload ->> 'reservation_id' = %s"
        assert app.value(reason, payment.hold.id) == 1
        assert app.outcome(event) == "duplicate"

    assert at_every_message(proxy, where, story) >= 2
    assert app.violations() == []


@WHERE
def test_a_cut_cancellation_is_done_once(app: App, proxy: CuttingProxy, where: Where) -> None:
    """A cancellation whose connection breaks ends its payment and gives its seats back, once."""

    def story(arm: Callable[[], None]) -> None:
        slot = app.slot()
        payment = app.payment(app.hold(slot))
        arm()
        answer = app.cancel(payment.hold)
        if answer.status == 503:
            # Its own lost step looks like somebody at Stripe; that one's lease ends.
            app.leases_over()
            answer = app.cancel(payment.hold)
        assert answer.status == 200, answer
        assert app.counts(slot) == (0, 0, 0, 0)
        assert [intent.status for intent in app.intents(payment.hold)] == ["canceled"]

    assert at_every_message(proxy, where, story) >= 2
    assert app.violations() == []


@WHERE
def test_a_cut_clean_up_releases_once(app: App, proxy: CuttingProxy, where: Where) -> None:
    """A clean-up whose connection breaks fails or finishes; with the next one each hold has been ended once."""

    def story(arm: Callable[[], None]) -> None:
        slot = app.slot(units=5)
        holds = [app.hold(slot), app.payment(app.hold(slot)).hold]
        app.expire(*holds)
        arm()
        app.invoke("reservation-cleanup")
        app.leases_over()
        app.invoke("reservation-cleanup")
        assert {app.status(hold) for hold in holds} == {"expired"}
        assert app.counts(slot) == (0, 0, 0, 0)

    assert at_every_message(proxy, where, story) >= 2
    assert app.violations() == []
